"""The code generator for a target."""

from __future__ import annotations

import tvm
from tvm.target import Target

from espalier.core.artifact import Program
from espalier.core.choices import KernelTimes
from espalier.core.errors import InvalidInputError
from espalier.targets.boards import KIND as FPGA

from .cpu import generate as cpu
from .cuda import generate as cuda
from .fpga_hls import generate as fpga


def generate(
    mod: tvm.IRModule, target: Target, lower: bool = True, times: KernelTimes | None = None, compress: bool = False
) -> Program:
    """A module compiled for a target; see the generators of each kind. times: of kernels, as the tuner records them."""
    kind = str(target.kind.name)
    if kind == "cuda":
        return cuda.generate(mod, target, lower, times, compress)
    if kind == FPGA:
        if compress:
            raise InvalidInputError("compress: got an FPGA, whose design has its weights in it; accepted are CPUs")
        return fpga.generate(mod, target, lower, times)
    return cpu.generate(mod, target, lower, times, compress)
