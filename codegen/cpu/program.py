"""A compiled network that runs in TVM's virtual machine on this CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import tvm
from tvm import relax

from espalier.core.errors import CorruptArtifactError, ToolNotFoundError
from espalier.targets.cpu import check_runs_here

LIBRARY = "program.so"


@dataclass(frozen=True)
class CpuProgram:
    """Machine code and constants.

    executable: TVM's executable, or the module of a loaded library. isa: what the code needs.
    kernel_layers: kernel name -> layer on whose behalf it runs ("" for glue).
    """

    executable: object
    isa: str
    kernel_layers: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def machine(self) -> relax.VirtualMachine:
        """The virtual machine that runs it; UnsupportedTargetError if this CPU lacks the instruction set."""
        check_runs_here(self.isa)
        return relax.VirtualMachine(self.executable, tvm.cpu())

    @cached_property
    def profiling_machine(self) -> relax.VirtualMachine:
        """A virtual machine that times each kernel."""
        check_runs_here(self.isa)
        return relax.VirtualMachine(self.executable, tvm.cpu(), profile=True)

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Compute the outputs."""
        results = self.machine["main"](*(tvm.runtime.tensor(array) for array in inputs))
        results = [results] if isinstance(results, tvm.runtime.Tensor) else list(results)
        return [result.numpy() for result in results]

    def save(self, folder: Path) -> None:
        """Write the shared library."""
        try:
            self.executable.export_library(str(folder / LIBRARY))
        except (RuntimeError, OSError) as error:
            if tvm.support.cc.get_cc() is None:
                raise ToolNotFoundError("saving an artifact links with a C++ compiler: install g++") from None
            raise ToolNotFoundError(f"the C++ compiler failed: {str(error).splitlines()[0]}") from None


def load_program(folder: Path, isa: str, kernel_layers: Mapping[str, str]) -> CpuProgram:
    """The program that `CpuProgram.save` wrote."""
    try:
        return CpuProgram(tvm.runtime.load_module(str(folder / LIBRARY)), isa, kernel_layers)
    except (RuntimeError, OSError, ValueError) as error:
        raise CorruptArtifactError(f"{folder / LIBRARY}: cannot be loaded ({str(error).splitlines()[0]})") from None
