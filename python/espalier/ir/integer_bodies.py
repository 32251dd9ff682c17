"""The meaning of quantized operators in stock Relax; `core.integer` says the same in words.

Sums are int32, as in every kernel. Products with multipliers are int64, so that the reference cannot overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import relax

from espalier.core.integer import (
    AddSpec,
    DequantizeSpec,
    GateArithmetic,
    LayerArithmetic,
    MeanPoolSpec,
    QuantizeSpec,
    ResidualArithmetic,
)
from espalier.core.layers import Conv2dSpec, LayerSpec

from .channels import per_channel, per_sample_channel, winners_mask


def layer(spec: LayerSpec, given: dict[str, relax.Expr], product: Callable) -> relax.Expr:
    """A convolution or dense layer in the format "int8"; `product` is that of its operator."""
    rank, one = 4 if isinstance(spec, Conv2dSpec) else 2, spec.integer
    sums = product(spec, _from_zero(given["x"], one.x_zero), _as(given["weight"], "int32"))
    if "bias" in given:
        sums = relax.op.add(sums, per_channel(given["bias"], rank))
    if "scale" in given:
        return relax.op.multiply(_as(sums, "float32"), per_channel(given["scale"], rank))
    factor = per_channel(_as(given["multiplier"], "int64"), rank)
    boosts_inside = "pi" in given and (spec.gate == "branch" or "residual" not in given)
    if boosts_inside:
        factor = relax.op.multiply(factor, per_sample_channel(_as(given["pi"], "int64"), rank))
    total = _rescaled(sums, factor, one.shift)
    if "residual" in given:
        total = _with_residual(total, given["residual"], one.residual)
    if "pi" in given and not boosts_inside:
        pi = per_sample_channel(_as(given["pi"], "int64"), rank)
        total = _rescaled(relax.op.maximum(total, relax.const(0, "int64")), pi, one.pi_shift)
    if spec.gate == "listed":
        channels = int(given["weight"].ty.shape[0])
        mask = winners_mask(given["winners"], spec.winners.granularity, channels, "int64")
        kept = relax.op.multiply(_limited(total, one, "int64"), per_sample_channel(mask, rank))
        lost = relax.op.subtract(relax.const(1, "int64"), per_sample_channel(mask, rank))
        zero = relax.op.multiply(lost, relax.const(one.zero, "int64"))
        return _as(relax.op.add(kept, zero), "uint8")
    return _limited(total, one, "uint8")


def saliency(one: GateArithmetic, given: dict[str, relax.Expr]) -> relax.Expr:
    """int32 [N, C_out]."""
    sums = relax.op.sum(relax.op.abs(_from_zero(given["x"], one.x_zero)), axis=[2, 3])
    mean = relax.op.minimum(_rescaled(sums, _int64(one.mean_multiplier), one.mean_shift), _int64(255))
    product = relax.op.matmul(_as(mean, "int32"), _as(given["phi"], "int32"))
    return relax.op.maximum(relax.op.add(product, given["rho"]), relax.const(0, "int32"))


def boost(one: GateArithmetic, saliencies: relax.Expr) -> relax.Expr:
    """uint8: pi before the losers are set to 0."""
    pi = _rescaled(saliencies, _int64(one.pi_multiplier), one.pi_shift)
    return _as(relax.op.minimum(pi, _int64(255)), "uint8")


def quantize(spec: QuantizeSpec, given: dict[str, relax.Expr]) -> relax.Expr:
    """See `QuantizeSpec`. Clipped before it is rounded, so that no value is beyond what an integer holds."""
    real = relax.op.divide(given["x"], relax.const(spec.scale, "float32"))
    clipped = relax.op.clip(real, float(spec.low - spec.zero), float(spec.high - spec.zero))
    return _as(relax.op.add(_as(relax.op.round(clipped), "int32"), relax.const(spec.zero, "int32")), "uint8")


def dequantize(spec: DequantizeSpec, given: dict[str, relax.Expr]) -> relax.Expr:
    """See `DequantizeSpec`."""
    return relax.op.multiply(_as(_from_zero(given["x"], spec.zero), "float32"), relax.const(spec.scale, "float32"))


def mean_pool(spec: MeanPoolSpec, given: dict[str, relax.Expr], axes: Sequence[int] = (2, 3)) -> relax.Expr:
    """See `MeanPoolSpec`. axes: where rows and columns are."""
    sums = relax.op.sum(_from_zero(given["x"], spec.x_zero), axis=list(axes), keepdims=True)
    return _limited(_rescaled(sums, _int64(spec.multiplier), spec.shift), spec, "uint8")


def add(spec: AddSpec, given: dict[str, relax.Expr]) -> relax.Expr:
    """See `AddSpec`."""
    left = relax.op.multiply(_from_zero(given["x"], spec.x_zero), relax.const(spec.own, "int32"))
    right = relax.op.multiply(_from_zero(given["y"], spec.y_zero), relax.const(spec.other, "int32"))
    return _limited(_rescaled(relax.op.add(left, right), _int64(1), spec.shift), spec, "uint8")


def _with_residual(total: relax.Expr, residual: relax.Expr, one: ResidualArithmetic) -> relax.Expr:
    if one.low is not None:
        total = relax.op.clip(total, one.low, one.high)
    own = relax.op.multiply(total, _int64(one.own))
    other = relax.op.multiply(_as(_from_zero(residual, one.zero), "int64"), _int64(one.other))
    return _rescaled(relax.op.add(own, other), _int64(1), one.shift)


def _rescaled(value: relax.Expr, factor: relax.Expr, shift: int) -> relax.Expr:
    """RNE(value, factor, shift) as int64."""
    product = relax.op.multiply(_as(value, "int64"), factor)
    if shift == 0:
        return product
    odd = relax.op.bitwise_and(relax.op.right_shift(product, _int64(shift)), _int64(1))
    raised = relax.op.add(relax.op.add(product, _int64((1 << (shift - 1)) - 1)), odd)
    return relax.op.right_shift(raised, _int64(shift))


def _limited(value: relax.Expr, one: LayerArithmetic | MeanPoolSpec | AddSpec, dtype: str) -> relax.Expr:
    """clip(value + zero, low, high)."""
    return _as(relax.op.clip(relax.op.add(value, _int64(one.zero)), one.low, one.high), dtype)


def _from_zero(x: relax.Expr, zero: int) -> relax.Expr:
    """x - zero as int32."""
    wide = _as(x, "int32")
    return relax.op.subtract(wide, relax.const(zero, "int32")) if zero else wide


def _as(value: relax.Expr, dtype: str) -> relax.Expr:
    return relax.op.astype(value, dtype)


def _int64(value: int) -> relax.Expr:
    return relax.const(value, "int64")
