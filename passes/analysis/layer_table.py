"""What each layer of a pruned module computes, and what it could have computed."""

from __future__ import annotations

import tvm
from tvm import relax

from espalier.core import ir_names
from espalier.core.formats import parse_format
from espalier.core.layers import Conv2dSpec, LayerRecord, LayerSpec, conv2d_macs, gate_macs, skipped_macs
from espalier.ir.dataflow import Dataflow, argument, dtype_of, shape_of


def layer_table(mod: tvm.IRModule) -> list[LayerRecord]:
    """One record for each layer, in program order. A gate's own work counts towards the layer it is made for."""
    flow = Dataflow.of(mod)
    layers = {var: flow.layer_of(var) for var in flow.values}
    gate_work = {
        spec.name: (spec.active.channels if spec.active else shape_of(call.args[0])[1], spec.granularity)
        for operator, spec, call in filter(None, layers.values())
        if operator == ir_names.CHANNEL_GATE
    }
    return [
        _record(operator, spec, call, shape_of(var), gate_work.get(spec.name), _activation_bits(flow, spec, call))
        for var, (operator, spec, call) in ((var, layer) for var, layer in layers.items() if layer)
        if operator != ir_names.CHANNEL_GATE
    ]


def _record(
    operator: str,
    spec,
    call: relax.Call,
    out_shape: tuple[int, ...],
    gate: tuple[int, int] | None,
    activation_bits: int,
) -> LayerRecord:
    weight = shape_of(argument(spec, call, "weight"))
    is_convolution = isinstance(spec, Conv2dSpec)
    dense = conv2d_macs(weight, out_shape) if is_convolution else weight[0] * weight[1]
    channels_in, channels_out = shape_of(call.args[0])[1], weight[0]
    active_in = spec.active.channels if spec.active else channels_in
    active_out = spec.winners.channels if spec.winners else channels_out
    macs = skipped_macs(dense, active_in / channels_in, active_out / channels_out)
    if gate:
        pixels = out_shape[2] * out_shape[3]
        macs += gate_macs(gate[0], channels_out, 0) + pixels * active_out
    return LayerRecord(
        name=spec.name,
        operator="conv2d" if is_convolution else "dense",
        macs_dense=dense,
        macs=macs,
        channels=channels_out,
        active_channels=active_out,
        input_channels=channels_in,
        active_input_channels=active_in,
        granularity=spec.winners.granularity if spec.winners else None,
        gate=spec.gate,
        weights=spec.format if spec.integer is None else spec.weight_format,
        activation_bits=activation_bits,
    )


def _activation_bits(flow: Dataflow, spec, call: relax.Call) -> int:
    """Bits of a value of the layer's input: of a quantized one as many as its largest number has."""
    if spec.integer is None:
        return parse_format(spec.format).bits
    return _largest_number(flow, call.args[0]).bit_length()


def _largest_number(flow: Dataflow, var: relax.Var) -> int:
    """What an integer tensor holds at most, by the operator that makes it."""
    found = flow.operator_of(var)
    if found:
        return (found[1].integer if isinstance(found[1], LayerSpec) else found[1]).high
    read = relax.analysis.free_vars(flow.values[var])
    return max(_largest_number(flow, one) for one in read if dtype_of(one) == "uint8")
