"""The code generator for a target."""

from __future__ import annotations

import tvm
from tvm.target import Target

from espalier.core.artifact import Program
from espalier.core.choices import KernelTimes

from .cpu import generate as cpu
from .cuda import generate as cuda


def generate(
    mod: tvm.IRModule, target: Target, lower: bool = True, times: KernelTimes | None = None, compress: bool = False
) -> Program:
    """A module compiled for a target; see the generators of each kind. times: of kernels, for CPUs only."""
    if str(target.kind.name) == "cuda":
        return cuda.generate(mod, target, lower, compress)
    return cpu.generate(mod, target, lower, times, compress)
