"""The meaning of every Espalier operator, written in stock Relax.

Each builder returns a Relax function whose body is the reference (contract 1): a module that is
never lowered compiles and gives the right answer; a lowering is tested against the body.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from espalier.core import ir_names
from espalier.core.integer import AddSpec, DequantizeSpec, MeanPoolSpec, QuantizeSpec
from espalier.core.layers import Activation, ChannelGateSpec, Conv2dSpec, DenseSpec, LayerSpec

from . import integer_bodies
from .channels import ascending_numbers, per_channel, per_sample_channel, winners_mask, winners_take_all

SPECS = {
    ir_names.CONV2D: Conv2dSpec,
    ir_names.DENSE: DenseSpec,
    ir_names.CHANNEL_GATE: ChannelGateSpec,
    ir_names.QUANTIZE: QuantizeSpec,
    ir_names.DEQUANTIZE: DequantizeSpec,
    ir_names.MEAN_POOL: MeanPoolSpec,
    ir_names.ADD: AddSpec,
}


def layer_function(spec: LayerSpec, arguments: Sequence[relax.Expr]) -> relax.Function:
    """The function of a convolution or dense layer for arguments of these types, in the order of `spec.roles`."""
    composite = ir_names.CONV2D if isinstance(spec, Conv2dSpec) else ir_names.DENSE

    def body(given: dict[str, relax.Var]) -> relax.Expr:
        if spec.integer is not None:
            return integer_bodies.layer(spec, given, _product)
        y = _product(spec, _in_format(given["x"], spec.format), given["weight"])
        rank = 4 if composite == ir_names.CONV2D else 2
        if "bias" in given:
            y = relax.op.add(y, per_channel(given["bias"], rank))
        if spec.gate == "branch":
            y = relax.op.multiply(y, per_sample_channel(given["pi"], rank))
        if "residual" in given:
            y = relax.op.add(y, given["residual"])
        y = activate(spec.activation, y)
        if spec.gate == "output":
            y = relax.op.multiply(y, per_sample_channel(given["pi"], rank))
        if spec.gate == "listed":
            channels = int(arguments[1].ty.shape[0])
            mask = winners_mask(given["winners"], spec.winners.granularity, channels)
            y = relax.op.multiply(y, per_sample_channel(mask, rank))
        return _in_format(y, spec.out_format)

    return _build(composite, spec, arguments, body)


def channel_gate_function(spec: ChannelGateSpec, arguments: Sequence[relax.Expr]) -> relax.Function:
    """The function of a channel gate; see `ChannelGateSpec` for its meaning. Returns the tuple (pi, winners)."""
    batch, channels = int(arguments[0].ty.shape[0]), int(arguments[2].ty.shape[0])
    groups = channels // spec.granularity

    def body(given: dict[str, relax.Var]) -> relax.Expr:
        saliency = _saliency(given) if spec.integer is None else integer_bodies.saliency(spec.integer, given)
        grouped = relax.op.reshape(saliency, [batch, groups, spec.granularity])
        keep = winners_take_all(relax.op.sum(grouped, axis=[2]), groups, spec.kept)
        winners = ascending_numbers(keep, groups, spec.kept)
        factor = grouped if spec.integer is None else integer_bodies.boost(spec.integer, grouped)
        if spec.mode == "select":
            factor = relax.op.ones_like(factor)
        mask = relax.op.astype(relax.op.expand_dims(keep, 2), "float32" if spec.integer is None else "uint8")
        return relax.Tuple([relax.op.reshape(relax.op.multiply(factor, mask), [batch, channels]), winners])

    return _build(ir_names.CHANNEL_GATE, spec, arguments, body)


def quantization_function(composite: str, spec, arguments: Sequence[relax.Expr]) -> relax.Function:
    """The function of one of the operators between quantized layers: QUANTIZE, DEQUANTIZE, MEAN_POOL or ADD."""
    body = {
        ir_names.QUANTIZE: integer_bodies.quantize,
        ir_names.DEQUANTIZE: integer_bodies.dequantize,
        ir_names.MEAN_POOL: integer_bodies.mean_pool,
        ir_names.ADD: integer_bodies.add,
    }[composite]
    return _build(composite, spec, arguments, lambda given: body(spec, given))


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


def _saliency(given: dict[str, relax.Expr]) -> relax.Expr:
    subsampled = relax.op.mean(relax.op.abs(given["x"]), axis=[2, 3])
    return relax.op.nn.relu(relax.op.add(relax.op.matmul(subsampled, given["phi"]), given["rho"]))


def _product(spec: LayerSpec, x: relax.Expr, weight: relax.Expr) -> relax.Expr:
    if isinstance(spec, DenseSpec):
        return relax.op.matmul(x, relax.op.permute_dims(weight))
    return relax.op.nn.conv2d(
        x, weight, strides=spec.strides, padding=spec.padding, dilation=spec.dilation, groups=spec.groups
    )


def _in_format(value: relax.Expr, name: str) -> relax.Expr:
    """Float32 values as the format has them."""
    if name == "tfloat32":  # x (2^13 + 1) - (x (2^13 + 1) - x): the 11 leading bits of x (Dekker, 1971)
        scaled = relax.op.multiply(value, relax.const(float(2**13 + 1), "float32"))
        return relax.op.subtract(scaled, relax.op.subtract(scaled, value))
    return value if name == "float32" else relax.op.astype(relax.op.astype(value, name), "float32")


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
