"""A compiled network that runs in TVM's virtual machine on a GPU."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import tvm
from tvm import relax

from espalier.core.errors import CorruptArtifactError, ToolNotFoundError, UnsupportedTargetError

from .device import require_device
from .kernel_objects import link
from .launches import KernelLaunch

LIBRARY = "program.so"
DESCRIPTION = "program.json"


@dataclass(frozen=True)
class CudaProgram:
    """Machine code for one architecture, the constants, and what is launched.

    executable: TVM's executable; None for a program that was loaded, whose library is opened when it first runs, so
    that a machine without a GPU can read all the rest. launches: of our kernels, in program order. stock_kernels: the
    names of the kernels that TVM scheduled, one for each launch.
    library: the content of the file that it was loaded from, which may be gone since.
    """

    arch: str
    executable: object
    launches: Sequence[KernelLaunch] = ()
    remarks: tuple[str, ...] = ()
    stock_kernels: tuple[str, ...] = ()
    library: np.ndarray | None = field(default=None, compare=False, repr=False)

    @cached_property
    def functions(self) -> tvm.runtime.Module:
        """The linked library, in which every launch's variant is a function."""
        return self._loadable()

    @cached_property
    def machine(self) -> relax.VirtualMachine:
        """The virtual machine that runs it; UnsupportedTargetError if this machine has no GPU that can."""
        device = require_device(self.arch)
        try:
            return relax.VirtualMachine(self.functions, device)
        except RuntimeError as error:
            raise UnsupportedTargetError(f"the artifact does not run on this GPU: {_first_line(error)}") from None

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Compute the outputs.

        Raises UnsupportedTargetError if there is no GPU that can, or not enough memory on it.
        """
        machine = self.machine
        try:
            results = machine["main"](*(tvm.runtime.tensor(array, tvm.cuda(0)) for array in inputs))
            results = [results] if isinstance(results, tvm.runtime.Tensor) else list(results)
            return [result.numpy() for result in results]  # waits, and so sees what failed in a kernel
        except RuntimeError as error:
            raise UnsupportedTargetError(f"the GPU could not run the artifact: {_first_line(error)}") from None

    def sizes(self) -> None:
        """None: the parameters are in the library."""

    def save(self, folder: Path) -> None:
        """Write the shared library and its description; ToolNotFoundError if it cannot be linked."""
        self.link(folder / LIBRARY)
        (folder / DESCRIPTION).write_text(json.dumps(self.description(), indent=2) + "\n")

    def description(self) -> dict:
        """What `from_library` needs besides the library, JSON-able."""
        launches = [launch.to_dict() for launch in self.launches]
        common = {"remarks": list(self.remarks), "stock_kernels": list(self.stock_kernels)}
        return {"arch": self.arch, "launches": launches, **common}

    @staticmethod
    def from_library(content: np.ndarray, description: Mapping) -> CudaProgram:
        """The program in a library; KeyError or TypeError if the description is of something else."""
        launches = tuple(KernelLaunch.from_dict(one) for one in description["launches"])
        remarks, stock = tuple(description["remarks"]), tuple(description["stock_kernels"])
        return CudaProgram(description["arch"], None, launches, remarks, stock, content)

    def link(self, path: Path) -> None:
        """Write the shared library, which needs TVM's runtime and NVIDIA's driver to run, and nothing else."""
        if self.library is not None:
            self.library.tofile(path)
            return
        try:
            self.executable.export_library(str(path), fcompile=link)
        except (RuntimeError, OSError) as error:
            if "KeyboardInterrupt" in str(error):  # TVM's interface hands every Python exception on as a RuntimeError
                raise KeyboardInterrupt from None
            raise ToolNotFoundError(f"the library could not be linked: {_first_line(error)}") from None

    def _loadable(self):
        with tempfile.TemporaryDirectory() as folder:  # linked: an executable in memory cannot call our kernels
            path = Path(folder) / LIBRARY
            self.link(path)
            return tvm.runtime.load_module(str(path))


def load_program(folder: Path) -> CudaProgram:
    """The program that `CudaProgram.save` wrote into a folder; CorruptArtifactError if it cannot be read."""
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        return CudaProgram.from_library(np.memmap(folder / LIBRARY, np.uint8, "r"), description)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(f"{folder}: cannot be loaded ({str(error).splitlines()[0]})") from None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
