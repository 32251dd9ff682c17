"""Where channel gates that came with a model scale a tensor."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax

from espalier.core import ir_names
from espalier.core.errors import InvalidModelError
from espalier.core.layers import ChannelGateSpec
from espalier.ir.dataflow import Dataflow, shape_of
from espalier.ir.operators import composite_of

_RESHAPES = ("relax.expand_dims", "relax.reshape")
PI, WINNERS = range(2)


@dataclass(frozen=True)
class GateScale:
    """A tensor [N, C, H, W] times a factor for each sample and channel.

    gate: the variable that the gate's call is bound to. is_mask: whether the factor is the mask of its winners, not pi.
    """

    gate: relax.Var
    spec: ChannelGateSpec
    is_mask: bool


def gate_scale(flow: Dataflow, scaled: relax.Var | None, value: relax.Var) -> GateScale | None:
    """How `scaled` is the product of `value` and a gate's factor; None if it is something else."""
    call = flow.call_of(scaled, "relax.multiply")
    if call is None:
        return None
    left, right = call.args
    other = right if left.same_as(value) else left
    if not isinstance(other, relax.Var) or shape_of(other) != (*shape_of(value)[:2], 1, 1):
        return None
    while (reshape := flow.call_of(other, *_RESHAPES)) is not None:
        other = reshape.args[0]
    masked = _listed(flow, other)
    item = flow.values.get(other if masked is None else masked)
    if not isinstance(item, relax.TupleGetItem) or item.index != (PI if masked is None else WINNERS):
        return None
    layer = flow.layer_of(item.tuple_value)
    if not layer or layer[0] != ir_names.CHANNEL_GATE:
        return None
    return GateScale(item.tuple_value, layer[1], masked is not None)


def check_gates_are_fused(mod: tvm.IRModule) -> None:
    """Raise InvalidModelError unless what gates decide is read by layers only."""
    flow = Dataflow.of(mod)
    for gate in flow.values:
        layer = flow.layer_of(gate)
        if layer and layer[0] == ir_names.CHANNEL_GATE:
            readers = [reader for item in flow.users[gate] for reader in flow.users[item]]
            if not readers or not all(flow.layer_of(reader) for reader in readers):
                raise InvalidModelError(
                    f"gate {layer[1].name!r}: something else than a convolution's output depends on it; accepted is "
                    "a factor on a convolution that is not grouped, behind its norm, or behind the add and activation"
                )


def _listed(flow: Dataflow, value: relax.Expr) -> relax.Expr | None:
    """The list of winners of which `value` is the mask."""
    call = flow.values.get(value)
    if not isinstance(call, relax.Call) or not isinstance(call.op, tvm.ir.GlobalVar):
        return None
    return call.args[0] if composite_of(flow.mod[call.op]) == ir_names.WINNERS_MASK else None
