"""An IRModule of Espalier operators and stock Relax becomes a program for a CPU."""

from __future__ import annotations

import contextlib

import tvm
from tvm import tirx
from tvm.target import Target

from espalier.core import ir_names
from espalier.core.choices import KernelTimes
from espalier.core.errors import UnsupportedTargetError
from espalier.core.formats import Float16, Tfloat32, parse_format
from espalier.ir.dataflow import Dataflow, constant
from espalier.ir.rewriting import remarks_of
from espalier.targets.cpu import Isa, isa_of

from ..phases import dispatch_phase, loops_phase, machine_phase
from .lower import LowerOnCpu
from .packing import recorded
from .parameters import Parameters, lift_constants, parameters_of
from .program import CpuProgram
from .schedule import ScheduleStock
from .timed_families import KnownTimes

GPU_FORMATS = (Float16.name, Tfloat32.name)


def generate(
    mod: tvm.IRModule, target: Target, lower: bool = True, times: KernelTimes | None = None, compress: bool = False
) -> CpuProgram:
    """Compile `mod`; without `lower` every operator runs as its reference body.

    times: what is known of the times of kernels, in the place of predicted ones.
    compress: keep the constants outside of the library, and save them as a weight container.
    """
    if lower:
        _check_formats(mod)
    isa = isa_of(target)
    required, before = _required(mod, isa), remarks_of(mod)
    phase = [*dispatch_phase(), *(lowering_phase(isa, times and KnownTimes(times, target)) if lower else [])]
    given, weight_bits = (parameters_of(mod), _weight_bits(mod)) if compress else ({}, {})
    with target, recorded() if compress else contextlib.nullcontext() as packings:
        mod = tvm.transform.Sequential(phase)(mod)
        remarks = tuple(remarks_of(mod)[len(before) :])
        mod = tvm.transform.Sequential(stock_phase(isa))(mod)
        constant_outputs = any(constant(output) is not None for output in Dataflow.of(mod).outputs())
        parameters = Parameters()
        if packings is not None:
            mod, parameters = lift_constants(mod, given, packings)
        executable = tvm.compile(mod, target, relax_pipeline=tvm.transform.Sequential(machine_phase()))
    layers = {
        gvar.name_hint: str(f.attrs[ir_names.KERNEL_LAYER])
        for gvar, f in mod.functions.items()
        if isinstance(f, tirx.PrimFunc)
    }
    return CpuProgram(executable, required, layers, remarks, constant_outputs, parameters, weight_bits)


def _check_formats(mod: tvm.IRModule) -> None:
    """Raise UnsupportedTargetError for a number format that only GPUs multiply."""
    flow = Dataflow.of(mod)
    for layer in filter(None, map(flow.layer_of, flow.values)):
        name = getattr(layer[1], "format", "float32")
        if name in GPU_FORMATS:
            raise UnsupportedTargetError(
                f"layer {layer[1].name}: {name} is for GPUs (target cuda), accepted on a CPU are float32, bfloat16 and "
                "quantized formats"
            )


def _required(mod: tvm.IRModule, isa: Isa) -> str:
    """What a processor needs to run the kernels, joined by "+"."""
    flow = Dataflow.of(mod)
    layers = list(filter(None, (flow.layer_of(var) for var in flow.values)))
    formats = {getattr(spec, "format", "") for _, spec, _ in layers}
    if any(spec.integer is not None for _, spec, _ in layers):
        formats.add("int8")
    extensions = {"bfloat16": (isa.bfloat16,), "int8": (isa.int8, isa.permute, isa.tiles)}
    needed = [name for one in sorted(formats & extensions.keys()) for name in extensions[one] if name]
    return "+".join(needed) or isa.name


def _weight_bits(mod: tvm.IRModule) -> dict[str, int]:
    """Bits of each layer's weights in their number format, by layer."""
    flow = Dataflow.of(mod)
    specs = [layer[1] for layer in map(flow.layer_of, flow.values) if layer and layer[0] != ir_names.CHANNEL_GATE]
    return {spec.name: parse_format(_weight_format(spec)).bits for spec in specs}


def _weight_format(spec) -> str:
    return spec.format if spec.integer is None else spec.weight_format


def lowering_phase(isa, known: KnownTimes | None = None) -> list:
    """Operators to kernels."""
    return [LowerOnCpu(isa, known)]


def stock_phase(isa) -> list:
    """Whatever is still a function of ours or a stock operator to scheduled loops."""
    return [*loops_phase(), ScheduleStock(isa.lanes)]
