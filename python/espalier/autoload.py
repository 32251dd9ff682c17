"""What happens during `import tvm` once Espalier is installed.

TVM calls `register` through the entry-point group `tvm.backends`. It only leaves names behind: the
modules that do the work are imported when a name is first used.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable

_FRONT_DOORS = {
    "tvm.relay": "espalier.relay",
    "tvm.relay.frontend": "espalier.relay_frontend",
    "tvm.contrib.graph_executor": "espalier.graph_executor",
}
"""Modules that TVM no longer has, and what stands in for each."""


def register() -> None:
    """Do every registration; called once for each process that imports tvm."""
    for registration in REGISTRATIONS:
        registration()


def register_relay() -> None:
    """Offer `tvm.relay` and `tvm.contrib.graph_executor`, unless TVM brings its own."""
    if any(_present(name) for name in ("tvm.relay", "tvm.contrib.graph_executor")):
        return
    for name, home in _FRONT_DOORS.items():
        parent, _, attribute = name.rpartition(".")
        module = sys.modules[name] = _LazyModule(name, home)
        setattr(importlib.import_module(parent), attribute, module)


def register_library_loader() -> None:
    """Let `tvm.runtime.load_module` recognise libraries written by our `export_library`.

    They end in a marked manifest; every other file goes to TVM's own loader as before.
    """
    from tvm import runtime

    for module in (runtime, runtime.module):
        module.load_module = _recognising_ours(module.load_module)


def _recognising_ours(load_module: Callable) -> Callable:
    """`relay_library.recognising_ours`, imported when a library is first loaded: it needs modules that import tvm."""

    @functools.wraps(load_module)
    def load(path):
        from .relay_library import recognising_ours

        return recognising_ours(load_module)(path)

    return load


def register_boards() -> None:
    """Let TVM know "fpga_hls/<board>"."""
    from tvm import target

    from .targets.boards import BOARDS, PREFIX, tag_options

    known = set(target.list_tags())
    for board in BOARDS:
        if f"{PREFIX}/{board.name}" not in known:
            target.register_tag(f"{PREFIX}/{board.name}", tag_options(board))


REGISTRATIONS = (register_relay, register_library_loader, register_boards)


class _LazyModule(types.ModuleType):
    """A module whose attributes are those of another module, imported at the first access."""

    def __init__(self, name: str, home: str):
        super().__init__(name, f"Stands in for {name}, which TVM no longer has; see {home}.")
        self.__dict__.update(_home=home, __path__=[])

    def __getattr__(self, name: str):
        if name.startswith("__"):  # asked by inspection of all modules, which must not import anything
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(self._home), name)

    def __dir__(self):
        return dir(importlib.import_module(self._home))


def _present(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None
