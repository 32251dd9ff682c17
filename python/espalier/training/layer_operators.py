"""Espalier's operators on torch tensors: `core.integer` word for word, and the float32 ones of `core.layers`."""

from __future__ import annotations

import torch
from torch.nn import functional

from ..core import ir_names
from ..core.integer import AddSpec, DequantizeSpec, LayerArithmetic, MeanPoolSpec, QuantizeSpec, ResidualArithmetic
from ..core.layers import ChannelGateSpec, Conv2dSpec, LayerSpec
from .gates import winners_mask

EXACT_FLOAT32 = 2**24
MOST = 255

Given = dict[str, torch.Tensor]


def layer(spec: LayerSpec, given: Given) -> torch.Tensor:
    """A convolution or dense layer."""
    return _integer_layer(spec, given) if spec.integer is not None else _real_layer(spec, given)


def channel_gate(spec: ChannelGateSpec, given: Given) -> tuple[torch.Tensor, torch.Tensor]:
    """(pi [N, C_out], winners int64 [N, kept])."""
    x, one = given["x"], spec.integer
    if one is None:
        saliency = torch.relu(x.abs().mean((2, 3)) @ given["phi"] + given["rho"])
        factor = saliency
    else:
        sums = (x.long() - one.x_zero).abs().sum((2, 3))
        mean = _rounded(sums, one.mean_multiplier, one.mean_shift).clamp(max=MOST)
        product = mean.double() @ given["phi"].double()
        saliency = (product.long() + given["rho"].long()).clamp(min=0)
        factor = _rounded(saliency, one.pi_multiplier, one.pi_shift).clamp(max=MOST)
    mask = winners_mask(saliency, spec.granularity, spec.kept)
    factor = mask.to(factor.dtype) * (torch.ones_like(factor) if spec.mode == "select" else factor)
    winners = mask[:, :: spec.granularity].nonzero()[:, 1].view(-1, spec.kept)
    return factor if one is None else factor.to(torch.uint8), winners


def quantize(spec: QuantizeSpec, given: Given) -> torch.Tensor:
    """float32 to uint8."""
    real = given["x"] / torch.tensor(spec.scale, dtype=torch.float32, device=given["x"].device)
    clipped = real.clamp(spec.low - spec.zero, spec.high - spec.zero)
    return (clipped.round() + spec.zero).to(torch.uint8)


def dequantize(spec: DequantizeSpec, given: Given) -> torch.Tensor:
    """uint8 to float32."""
    return (given["x"].float() - spec.zero) * spec.scale


def mean_pool(spec: MeanPoolSpec, given: Given) -> torch.Tensor:
    """uint8 [N, C, H, W] to [N, C, 1, 1]."""
    sums = (given["x"].long() - spec.x_zero).sum((2, 3), keepdim=True)
    return _limited(_rounded(sums, spec.multiplier, spec.shift), spec)


def add(spec: AddSpec, given: Given) -> torch.Tensor:
    """Two uint8 tensors of one shape."""
    left, right = (given["x"].long() - spec.x_zero) * spec.own, (given["y"].long() - spec.y_zero) * spec.other
    return _limited(_rounded(left + right, 1, spec.shift), spec)


OPERATORS = {
    ir_names.CONV2D: layer,
    ir_names.DENSE: layer,
    ir_names.CHANNEL_GATE: channel_gate,
    ir_names.QUANTIZE: quantize,
    ir_names.DEQUANTIZE: dequantize,
    ir_names.MEAN_POOL: mean_pool,
    ir_names.ADD: add,
}
"""By the name of the composite; each takes a spec and its arguments by role."""


def _integer_layer(spec: LayerSpec, given: Given) -> torch.Tensor:
    one, sums = spec.integer, _sums(spec, given)
    if "scale" in given:
        return sums.float() * _per_channel(given["scale"], sums.ndim)
    pi = _per_sample(given["pi"].long(), sums.ndim) if "pi" in given else 1
    is_outside = "residual" in given and spec.gate != "branch"
    factor = _per_channel(given["multiplier"].long(), sums.ndim)
    total = _rounded(sums, factor if is_outside else factor * pi, one.shift)
    if "residual" in given:
        total = _with_residual(total, given["residual"], one.residual)
    if "pi" in given and is_outside:
        total = _rounded(total.clamp(min=0), pi, one.pi_shift)
    result = _limited(total, one)
    return torch.where(_listed(spec, given, result), result, one.zero) if spec.gate == "listed" else result


def _sums(spec: LayerSpec, given: Given) -> torch.Tensor:
    """int64: products and bias."""
    weight = given["weight"]
    worst = MOST * int(weight.flatten(1).abs().sum(1, dtype=torch.int64).max()) if weight.numel() else 0
    is_small = worst < EXACT_FLOAT32 and weight.device.type == "cpu"  # what a GPU computes in float32 may be TF32
    dtype = torch.float32 if is_small else torch.float64
    sums = _product(spec, given["x"].to(dtype) - spec.integer.x_zero, weight.to(dtype)).long()
    return sums + _per_channel(given["bias"].long(), sums.ndim) if "bias" in given else sums


def _with_residual(total: torch.Tensor, residual: torch.Tensor, one: ResidualArithmetic) -> torch.Tensor:
    if one.low is not None:
        total = total.clamp(one.low, one.high)
    return _rounded(total * one.own + (residual.long() - one.zero) * one.other, 1, one.shift)


def _real_layer(spec: LayerSpec, given: Given) -> torch.Tensor:
    y = _product(spec, _in_format(given["x"], spec.format), given["weight"])
    y = y + _per_channel(given["bias"], y.ndim) if "bias" in given else y
    y = y * _per_sample(given["pi"], y.ndim) if spec.gate == "branch" else y
    y = y + given["residual"] if "residual" in given else y
    if spec.activation.kind != "none":
        y = y.relu() if spec.activation.kind == "relu" else y.clamp(spec.activation.low, spec.activation.high)
    y = y * _per_sample(given["pi"], y.ndim) if spec.gate == "output" else y
    y = y * _listed(spec, given, y) if spec.gate == "listed" else y
    return _in_format(y, spec.out_format)


def _product(spec: LayerSpec, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    if not isinstance(spec, Conv2dSpec):
        return x @ weight.T
    top, left, bottom, right = spec.padding
    x = functional.pad(x, (left, right, top, bottom)) if (top, left) != (bottom, right) else x
    padding = 0 if (top, left) != (bottom, right) else (top, left)
    return functional.conv2d(x, weight, None, spec.strides, padding, spec.dilation, spec.groups)


def _listed(spec: LayerSpec, given: Given, y: torch.Tensor) -> torch.Tensor:
    """bool [N, C, 1, 1]: the channels of the groups in the list of winners."""
    groups = y.shape[1] // spec.winners.granularity
    mask = torch.zeros(len(y), groups, dtype=torch.bool, device=y.device).scatter(1, given["winners"], True)
    return _per_sample(mask.repeat_interleave(spec.winners.granularity, 1), y.ndim)


def _rounded(value: torch.Tensor, multiplier, shift: int) -> torch.Tensor:
    """RNE(value, multiplier, shift) of int64."""
    product = value * multiplier
    if shift == 0:
        return product
    return (product + ((1 << (shift - 1)) - 1) + ((product >> shift) & 1)) >> shift


def _limited(value: torch.Tensor, one: LayerArithmetic | MeanPoolSpec | AddSpec) -> torch.Tensor:
    return (value + one.zero).clamp(one.low, one.high).to(torch.uint8)


def _per_channel(vector: torch.Tensor, rank: int) -> torch.Tensor:
    return vector.view(-1, *[1] * (rank - 2))


def _per_sample(matrix: torch.Tensor, rank: int) -> torch.Tensor:
    return matrix.view(*matrix.shape, *[1] * (rank - 2))


def _in_format(value: torch.Tensor, name: str) -> torch.Tensor:
    return value.bfloat16().float() if name == "bfloat16" else value
