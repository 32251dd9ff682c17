"""A compiled network that runs in TVM's virtual machine on this CPU."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import tvm
import tvm_ffi
from tvm import relax
from tvm.support import cc

from espalier.core.errors import CorruptArtifactError, ToolNotFoundError, UnsupportedTargetError
from espalier.targets.cpu import check_runs_here, host_cpu

LIBRARY = "program.so"
DESCRIPTION = "program.json"
ALIGNMENT = 64
"""Bytes: TVM's kAllocAlignment."""


@dataclass(frozen=True)
class CpuProgram:
    """Machine code and constants.

    executable: TVM's executable, or the module of a loaded library. isa: what the code needs.
    kernel_layers: kernel name -> layer on whose behalf it runs ("" for glue). library: the file it was loaded from.
    remarks: of the code generator, one line each.
    """

    executable: object
    isa: str
    kernel_layers: Mapping[str, str] = field(default_factory=dict)
    library: Path | None = None
    remarks: tuple[str, ...] = ()

    @cached_property
    def machine(self) -> relax.VirtualMachine:
        """The virtual machine that runs it; UnsupportedTargetError if this CPU lacks the instruction set."""
        return self.new_machine()

    def new_machine(self) -> relax.VirtualMachine:
        """A virtual machine of its own, for instruments that would slow the shared one."""
        check_runs_here(self.isa)
        try:
            return relax.VirtualMachine(self.executable, tvm.cpu())
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UnsupportedTargetError(
                f"the artifact does not run on this machine ({host_cpu()}): {reason}"
            ) from None

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Compute the outputs."""
        results = self.machine["main"](*(_tensor(array) for array in inputs))
        results = [results] if isinstance(results, tvm.runtime.Tensor) else list(results)
        return [result.numpy() for result in results]

    def save(self, folder: Path) -> None:
        """Write the shared library and what is needed to load it.

        Raises ToolNotFoundError if there is no C++ compiler to link with.
        """
        if self.library:
            shutil.copyfile(self.library, folder / LIBRARY)
        else:
            self.link(folder / LIBRARY)
        description = {"isa": self.isa, "kernel_layers": dict(self.kernel_layers)}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")

    def link(self, path: Path) -> None:
        """Write the shared library; ToolNotFoundError if there is no C++ compiler to link with, or it fails."""
        if cc.get_cc() is None:
            raise ToolNotFoundError("saving an artifact links it with a C++ compiler and there is none: install g++")
        try:
            with _silent_stderr():
                self.executable.export_library(str(path))
        except (RuntimeError, OSError) as error:
            if "KeyboardInterrupt" in str(error):  # TVM's interface hands every Python exception on as a RuntimeError
                raise KeyboardInterrupt from None
            raise ToolNotFoundError(f"the C++ compiler failed: {_cause(error)}") from None


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drop what C++ prints: TVM warns of every constant that it writes."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _cause(error: Exception) -> str:
    """The line of a linker's output that names the problem."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower() and not line.endswith(":")), lines[0])


def _tensor(array: np.ndarray) -> tvm.runtime.Tensor:
    """The array's own memory where it is aligned as compiled code expects, else a copy."""
    if array.ctypes.data % ALIGNMENT or not array.flags.writeable:  # DLPack hands on only writeable arrays
        return tvm.runtime.tensor(array)
    return tvm_ffi.from_dlpack(array)


def load_program(folder: Path) -> CpuProgram:
    """The program that `CpuProgram.save` wrote into a folder; CorruptArtifactError if it cannot be loaded."""
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        executable = tvm.runtime.load_module(str(folder / LIBRARY))
        return CpuProgram(executable, description["isa"], description["kernel_layers"], folder / LIBRARY)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise CorruptArtifactError(f"{folder}: cannot be loaded ({str(error).splitlines()[0]})") from None
