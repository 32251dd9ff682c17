"""The code generator for a target."""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.target import Target

from espalier.core.artifact import Program
from espalier.core.choices import KernelTimes
from espalier.core.errors import InvalidInputError
from espalier.ir.compiler_failures import named_failures
from espalier.ir.dataflow import Dataflow
from espalier.ir.single_binding import single_binding
from espalier.targets.boards import KIND as FPGA
from espalier.targets.boards import PREFIX
from espalier.targets.cpu import cpu_target

from .cpu import generate as cpu
from .cuda import generate as cuda
from .fpga_hls import generate as fpga


def generate(
    mod: tvm.IRModule, target: Target, lower: bool = True, times: KernelTimes | None = None, compress: bool = False
) -> Program:
    """A module compiled for a target; see the generators of each kind. times: of kernels, as the tuner records them.

    Raises UnsupportedOpError, which names the operator if there is a single one, where the compiler itself fails.
    """
    name = PREFIX if str(target.kind.name) == FPGA else target.kind.name
    with named_failures(lambda: f"{name}: {_failing(mod, target)} cannot be compiled"):
        return _generated(mod, target, lower, times, compress)


def _generated(mod: tvm.IRModule, target: Target, lower: bool, times: KernelTimes | None, compress: bool) -> Program:
    kind = str(target.kind.name)
    if kind == "cuda":
        return cuda.generate(mod, target, lower, times, compress)
    if kind == FPGA:
        if compress:
            raise InvalidInputError("compress: got an FPGA, whose design has its weights in it; accepted are CPUs")
        return fpga.generate(mod, target, lower, times)
    return cpu.generate(mod, target, lower, times, compress)


def _failing(mod: tvm.IRModule, target: Target) -> str:
    """The first stock operator that cannot be compiled alone either, or all of the network."""
    flow, tried = Dataflow.of(mod), set()
    host = target if str(target.kind.name) != FPGA else cpu_target({"kind": "llvm"})
    for var, call in ((var, flow.call_of(var)) for var in flow.values):
        kind = call is not None and (call.op.name, *(str(one.ty) for one in (call, *call.args)))
        if not kind or kind in tried:
            continue
        tried.add(kind)
        try:
            _generated(single_binding(mod, call), host, False, None, False)
        except Exception:  # whatever it is, it is of this operator
            return f"{var.name}, a call of {call.op.name} that gives {_text(call.ty)},"
    return "the network"


def _text(ty) -> str:
    return f"{ty.dtype} {[int(size) for size in ty.shape]}" if isinstance(ty, relax.TensorType) else "several tensors"
