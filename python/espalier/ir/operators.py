"""The meaning of every Espalier operator, written in stock Relax.

Each builder returns a Relax function whose body is the reference (contract 1): a module that is
never lowered compiles and gives the right answer; a lowering is tested against the body.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from espalier.core import ir_names
from espalier.core.layers import Activation, ChannelGateSpec, Conv2dSpec, DenseSpec, LayerSpec

SPECS = {ir_names.CONV2D: Conv2dSpec, ir_names.DENSE: DenseSpec, ir_names.CHANNEL_GATE: ChannelGateSpec}


def layer_function(spec: LayerSpec, arguments: Sequence[relax.Expr]) -> relax.Function:
    """The function of a convolution or dense layer for arguments of these types, in the order of `spec.roles`."""
    composite = ir_names.CONV2D if isinstance(spec, Conv2dSpec) else ir_names.DENSE

    def body(given: dict[str, relax.Var]) -> relax.Expr:
        y = _product(spec, _in_format(given["x"], spec.format), given["weight"])
        rank = 4 if composite == ir_names.CONV2D else 2
        if "bias" in given:
            y = relax.op.add(y, _per_channel(given["bias"], rank))
        if spec.gate == "branch":
            y = relax.op.multiply(y, _per_sample_channel(given["pi"], rank))
        if "residual" in given:
            y = relax.op.add(y, given["residual"])
        y = activate(spec.activation, y)
        if spec.gate == "output":
            y = relax.op.multiply(y, _per_sample_channel(given["pi"], rank))
        if spec.gate == "listed":
            channels = int(arguments[1].ty.shape[0])
            mask = winners_mask(given["winners"], spec.winners.granularity, channels)
            y = relax.op.multiply(y, _per_sample_channel(mask, rank))
        return _in_format(y, spec.out_format)

    return _build(composite, spec, arguments, body)


def channel_gate_function(spec: ChannelGateSpec, arguments: Sequence[relax.Expr]) -> relax.Function:
    """The function of a channel gate; see `ChannelGateSpec` for its meaning. Returns the tuple (pi, winners)."""
    batch, channels = int(arguments[0].ty.shape[0]), int(arguments[2].ty.shape[0])
    groups = channels // spec.granularity

    def body(given: dict[str, relax.Var]) -> relax.Expr:
        subsampled = relax.op.mean(relax.op.abs(given["x"]), axis=[2, 3])
        saliency = relax.op.nn.relu(relax.op.add(relax.op.matmul(subsampled, given["phi"]), given["rho"]))
        grouped = relax.op.reshape(saliency, [batch, groups, spec.granularity])
        keep = _winners_take_all(relax.op.sum(grouped, axis=[2]), groups, spec.kept)
        winners = _ascending_numbers(keep, groups, spec.kept)
        factor = grouped if spec.mode == "boost" else relax.op.ones_like(grouped)
        kept = relax.op.multiply(factor, relax.op.astype(relax.op.expand_dims(keep, 2), "float32"))
        return relax.Tuple([relax.op.reshape(kept, [batch, channels]), winners])

    return _build(ir_names.CHANNEL_GATE, spec, arguments, body)


def winners_mask_function(winners: relax.Expr, granularity: int, channels: int) -> relax.Function:
    """The function of `winners_mask` for a list of this type."""

    def body(given: dict[str, relax.Var]) -> relax.Expr:
        return winners_mask(given["winners"], granularity, channels)

    return _function(("winners",), [winners], body).with_attr(ir_names.COMPOSITE, ir_names.WINNERS_MASK)


def operator_of(function) -> tuple[str, LayerSpec | ChannelGateSpec] | None:
    """The operator's name and its parameters, if `function` is one of ours."""
    name = composite_of(function)
    return (name, SPECS[name].from_json(function.attrs[ir_names.SPEC])) if name in SPECS else None


def composite_of(function) -> str | None:
    """The function's attribute `ir_names.COMPOSITE`."""
    if not isinstance(function, relax.Function) or not function.attrs:
        return None
    name = function.attrs.get(ir_names.COMPOSITE)
    return None if name is None else str(name)


def activate(activation: Activation, y: relax.Expr) -> relax.Expr:
    """The activation in stock Relax."""
    if activation.kind == "relu":
        return relax.op.nn.relu(y)
    if activation.kind == "clip":
        return relax.op.clip(y, activation.low, activation.high)
    return y


def winners_mask(winners: relax.Expr, granularity: int, channels: int) -> relax.Expr:
    """float32 [N, channels], 1 where a channel's group is in the list `winners` [N, count], else 0."""
    groups = channels // granularity
    listed = relax.op.equal(relax.op.expand_dims(winners, 1), _group_numbers(groups, axes=(0, 2)))
    mask = relax.op.max(relax.op.astype(listed, "float32"), axis=[2])
    return relax.op.repeat(mask, granularity, axis=1)


def _product(spec: LayerSpec, x: relax.Expr, weight: relax.Expr) -> relax.Expr:
    if isinstance(spec, DenseSpec):
        return relax.op.matmul(x, relax.op.permute_dims(weight))
    return relax.op.nn.conv2d(
        x, weight, strides=spec.strides, padding=spec.padding, dilation=spec.dilation, groups=spec.groups
    )


def _winners_take_all(score: relax.Expr, groups: int, kept: int) -> relax.Expr:
    """bool [N, groups]: fewer than `kept` groups beat this one; a tie is won by the lower number."""
    mine, other = relax.op.expand_dims(score, 2), relax.op.expand_dims(score, 1)
    tie_lost = relax.op.logical_and(relax.op.equal(other, mine), _is_earlier(groups))
    beaten = relax.op.logical_or(relax.op.greater(other, mine), tie_lost)
    return relax.op.less(_count(beaten), relax.const(kept, "int32"))


def _ascending_numbers(keep: relax.Expr, groups: int, kept: int) -> relax.Expr:
    """int32 [N, kept]: the numbers of the kept groups. Not by a sort: the TVM wheel has none for the CPU."""
    kept_before = _count(relax.op.logical_and(relax.op.expand_dims(keep, 1), _is_earlier(groups)))
    here = relax.op.equal(relax.op.expand_dims(kept_before, 1), _group_numbers(kept, axes=(0, 2)))
    here = relax.op.logical_and(here, relax.op.expand_dims(keep, 1))
    return relax.op.sum(
        relax.op.multiply(relax.op.astype(here, "int32"), _group_numbers(groups, axes=(0, 1))), axis=[2]
    )


def _is_earlier(groups: int) -> relax.Expr:
    """bool [1, groups, groups]: the group of the last axis has a lower number than that of the middle axis."""
    return relax.op.less(_group_numbers(groups, axes=(0, 1)), _group_numbers(groups, axes=(0, 2)))


def _count(flags: relax.Expr) -> relax.Expr:
    return relax.op.sum(relax.op.astype(flags, "int32"), axis=[2])


def _group_numbers(groups: int, axes: Sequence[int] = (0,)) -> relax.Expr:
    """0 .. groups-1 as int32, with dimensions of size one inserted at `axes`."""
    numbers = relax.op.arange(groups, dtype="int32")
    return relax.op.expand_dims(numbers, list(axes))


def _in_format(value: relax.Expr, name: str) -> relax.Expr:
    """Float32 values as the format has them."""
    return value if name == "float32" else relax.op.astype(relax.op.astype(value, name), "float32")


def _per_channel(vector: relax.Expr, rank: int) -> relax.Expr:
    return relax.op.expand_dims(vector, [0, 2, 3]) if rank == 4 else vector


def _per_sample_channel(matrix: relax.Expr, rank: int) -> relax.Expr:
    return relax.op.expand_dims(matrix, [2, 3]) if rank == 4 else matrix


def _build(composite: str, spec, arguments: Sequence[relax.Expr], body) -> relax.Function:
    function = _function(spec.roles, arguments, body)
    return function.with_attrs({ir_names.COMPOSITE: composite, ir_names.SPEC: spec.to_json()})


def _function(roles: Sequence[str], arguments: Sequence[relax.Expr], body) -> relax.Function:
    params = [relax.Var(role, argument.ty) for role, argument in zip(roles, arguments, strict=True)]
    builder = relax.BlockBuilder()
    with builder.function("operator", params):
        with builder.dataflow():
            result = builder.emit_output(body(dict(zip(roles, params))))
        builder.emit_func_output(result)
    return builder.get()["operator"].without_attr("global_symbol")
