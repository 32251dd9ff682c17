"""Who may import whom: only downwards, and siblings on a line do not see each other."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FOLDERS = {"espalier": "python/espalier"} | {f"espalier.{name}": name for name in ("passes", "codegen", "tuning")}

LINES = (
    ("cli", "__main__", "autoload"),
    ("commands",),
    ("report",),
    ("tuning",),
    ("espalier",),  # the package's own __init__: the public names
    ("relay",),
    ("api",),
    ("training",),
    ("measure", "calibration"),
    ("pass_context",),
    ("build",),
    ("build_key", "program_cache"),
    ("frontend", "passes", "codegen"),
    ("ir", "targets"),
    ("core",),
)
PARTS_OF_RELAY = ("relay_frontend", "relay_library", "graph_executor")
HEIGHT = {name: -number for number, line in enumerate(LINES) for name in line}
TORCH_USERS = ("espalier.training", "espalier.frontend.torch", "espalier.measure.onnx_in_torch")


def modules() -> dict[str, Path]:
    """Every module of the four folders by its dotted name."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            parts = path.relative_to(REPOSITORY / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def layer_of(dotted: str) -> str:
    """The name in LINES for a module of ours, or for a name imported from one."""
    name = (dotted.split(".") + ["espalier"])[1]
    return "relay" if name in PARTS_OF_RELAY else name


def absolute_imports(source: str, module: str, is_package: bool) -> Iterator[tuple[str, bool]]:
    """(dotted name, whether it runs at import time) of each import; a relative one is made absolute."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        at_import = id(node) not in inside
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".") if is_package else module.split(".")[:-1]
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *(node.module or "").split(".")]).rstrip(".")
            yield from ((f"{base}.{alias.name}", at_import) for alias in node.names)


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """One line for each import that a module must not have."""
    here, found = layer_of(module), []
    for name, at_import in absolute_imports(source, module, is_package):
        root = name.split(".")[0]
        if root in ("passes", "codegen", "tuning"):
            found.append(f"{module}: a second copy would be loaded by `import {name}`; write espalier.{name}")
        elif root == "espalier":
            there = layer_of(name) if layer_of(name) in HEIGHT else "espalier"  # a public name of the package
            if there != here and HEIGHT[there] >= HEIGHT[here]:
                found.append(f"{module}: {here} must not import {there} ({name})")
        elif here == "core" and root != "numpy" and root not in sys.stdlib_module_names:
            found.append(f"{module}: core imports only the standard library and numpy, not {root}")
        elif root == "torch" and at_import and not module.startswith(TORCH_USERS):
            found.append(f"{module}: torch is optional; import it inside the function that needs it")
    return found


def test_every_module_has_its_line():
    homeless = {layer_of(module) for module in MODULES} - HEIGHT.keys()
    assert not homeless, f"give {sorted(homeless)} a line in LINES and in DESIGN.md"


def test_every_folder_of_modules_is_a_package():
    loose = {path.parent for path in MODULES.values()} - {p.parent for p in MODULES.values() if p.name == "__init__.py"}
    assert not loose, f"without __init__.py these do not reach the wheel: {sorted(map(str, loose))}"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module):
    path = MODULES[module]
    assert violations(path.read_text(), module, path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("espalier.passes.x", "from ..codegen import cpu"),
        ("espalier.passes.x", "from espalier.frontend import bundled"),
        ("espalier.codegen.x", "from passes import analysis"),
        ("espalier.frontend.x", "def f():\n    from ..measure import y"),
        ("espalier.frontend.x", "import torch"),
        ("espalier.core.x", "import tvm"),
        ("espalier.core.x", "from .. import targets"),
        ("espalier.measure.x", "from espalier import training"),
    ],
)
def test_a_forbidden_import_is_found(module, source):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("espalier.passes.analysis.x", "from ...core import plan\nfrom ..prune import y\nimport tvm"),
        ("espalier.api", "from . import core, targets\nfrom .frontend import bundled"),
        ("espalier.cli", "def f():\n    import torch"),
        ("espalier.training.x", "import torch"),
    ],
)
def test_an_allowed_import_is_left_alone(module, source):
    assert violations(source, module) == []


@pytest.mark.parametrize("module", ["espalier", "espalier.autoload"])
def test_importing_is_light(module):
    """TVM itself imports torch where it is installed, so only what comes on top of it counts."""
    program = f"import sys, tvm; before = set(sys.modules); import {module}; print(*set(sys.modules) - before)"
    environment = {**os.environ, "TVM_DEVICE_BACKEND_AUTOLOAD": "0"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    added = set(done.stdout.split())
    assert module in added
    assert not added & {"torch", "onnx", "onnxruntime", "openvino", "xgboost"}
