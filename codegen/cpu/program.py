"""A compiled network that runs in TVM's virtual machine on this CPU."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
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
from espalier.core.sizes import ProgramSize
from espalier.targets.cpu import check_runs_here, host_cpu

from ..container.layer_sizes import layer_sizes
from ..container.weight_container import WeightContainer, decode, encode
from . import lower  # noqa: F401 - it registers every packing that loading may need
from .parameters import Parameters

LIBRARY = "program.so"
WEIGHTS = "weights.bin"
DESCRIPTION = "program.json"
DESCRIBED = ("isa", "kernel_layers", "remarks", "constant_outputs", "parameters", "weight_bits")
ALIGNMENT = 64
"""Bytes: TVM's kAllocAlignment."""


@dataclass(frozen=True)
class CpuProgram:
    """Machine code and constants.

    executable: TVM's executable, or the module of a loaded library. isa: what the code needs.
    kernel_layers: kernel name -> layer on whose behalf it runs ("" for glue). remarks: for the artifact's report.
    constant_outputs: whether some output does not depend on the inputs.
    parameters: what the code takes after the inputs; empty if the constants are in the library.
    weight_bits: of the number format of each layer's weights, where there are parameters.
    library: the content of the file that it was loaded from, which may be gone since.
    """

    executable: object
    isa: str
    kernel_layers: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    constant_outputs: bool = False
    parameters: Parameters = field(default=Parameters(), repr=False)
    weight_bits: Mapping[str, int] = field(default_factory=dict)
    library: np.ndarray | None = field(default=None, compare=False, repr=False)

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
        """Compute the outputs, in memory that belongs to the caller."""
        results = self.machine["main"](*map(_tensor, inputs), *self.parameter_tensors)
        results = [results] if isinstance(results, tvm.runtime.Tensor) else list(results)
        return [self._owned(np.from_dlpack(result), inputs) for result in results]

    @cached_property
    def parameter_tensors(self) -> list[tvm.runtime.Tensor]:
        """The parameters as the code takes them after the inputs, unpacked once."""
        return [tvm.runtime.tensor(array) for array in self.parameters.packed()]

    @cached_property
    def container(self) -> WeightContainer:
        """The parameters, coded."""
        return encode(self.parameters.arrays)

    def sizes(self) -> ProgramSize | None:
        """The space of the parameters, by layer and by cause; None if they are in the library.

        Raises ToolNotFoundError if there is no C++ compiler to link with.
        """
        if not self.parameters.recipes:
            return None
        with tempfile.TemporaryDirectory() as folder:
            self.link(Path(folder) / LIBRARY)
            code_bytes = (Path(folder) / LIBRARY).stat().st_size
        layers = layer_sizes(self.parameters.arrays, self.container, self.weight_bits)
        return ProgramSize(layers, self.container.overhead_bytes, code_bytes)

    def _owned(self, result: np.ndarray, inputs: list[np.ndarray]) -> np.ndarray:
        """The machine's own memory, fresh in each run; a copy where it is an input's or a constant's."""
        shared = self.constant_outputs or any(np.may_share_memory(result, array) for array in inputs)
        return result.copy() if shared else result

    def save(self, folder: Path) -> None:
        """Write the shared library, the parameters if they are not in it, and what is needed to load them.

        Raises ToolNotFoundError if there is no C++ compiler to link with.
        """
        self.link(folder / LIBRARY)
        if self.parameters.recipes:
            (folder / WEIGHTS).write_bytes(self.container.content)
        (folder / DESCRIPTION).write_text(json.dumps(self.description(), indent=2) + "\n")

    def description(self) -> dict:
        """What `from_library` needs besides the library, JSON-able."""
        return {
            "isa": self.isa,
            "kernel_layers": dict(self.kernel_layers),
            "remarks": list(self.remarks),
            "constant_outputs": self.constant_outputs,
            "parameters": self.parameters.recipes,
            "weight_bits": dict(self.weight_bits),
        }

    @staticmethod
    def from_library(
        module: tvm.runtime.Module, content: np.ndarray, description: Mapping, weights: Mapping | None = None
    ) -> CpuProgram:
        """The program in a library that was loaded as `module`; KeyError if the description is of something else.

        weights: by name, the arrays that the description's parameters are packed from, if it has any.
        """
        isa, layers, remarks, constant, recipes, bits = (description[key] for key in DESCRIBED)
        parameters = Parameters(weights or {}, tuple(recipes))
        program = CpuProgram(module, isa, layers, tuple(remarks), constant, parameters, bits, content)
        _ = program.parameter_tensors  # decoded and packed once, and what cannot be is found now
        return program

    def link(self, path: Path) -> None:
        """Write the shared library; ToolNotFoundError if there is no C++ compiler to link with, or it fails."""
        if self.library is not None:
            self.library.tofile(path)
            return
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


def load_library(path: Path) -> tvm.runtime.Module:
    """The module of a shared library, by a link of a fresh name.

    By a name that it has seen dlopen gives what it loaded then, whatever the file is now.
    """
    with tempfile.TemporaryDirectory(prefix="espalier-") as folder:
        link = Path(folder) / LIBRARY
        link.symlink_to(path.resolve(strict=True))
        return tvm_ffi.load_module(link)


def load_program(folder: Path) -> CpuProgram:
    """The program that `CpuProgram.save` wrote into a folder; CorruptArtifactError if it cannot be loaded."""
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        module = load_library(folder / LIBRARY)
        weights = decode((folder / WEIGHTS).read_bytes(), folder / WEIGHTS) if description["parameters"] else {}
        return CpuProgram.from_library(module, np.memmap(folder / LIBRARY, np.uint8, "r"), description, weights)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise CorruptArtifactError(f"{folder}: cannot be loaded ({str(error).splitlines()[0]})") from None
