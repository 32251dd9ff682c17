"""What quantized operators mean, in numpy's int64, written apart from the library."""

from __future__ import annotations

import numpy as np

from . import nn


def rounded_quotient(numbers, shift):
    """numbers / 2^shift to the nearest integer, ties to even, by long division."""
    quotient, rest = np.divmod(np.asarray(numbers, np.int64), 1 << shift)
    twice = 2 * rest
    return quotient + ((twice > 1 << shift) | ((twice == 1 << shift) & (quotient % 2 == 1)))


def sums(spec, given):
    """What the products add up to, bias included, as int64; checks that int32 would hold it."""
    x, weight = given["x"].astype(np.int64) - spec.integer.x_zero, given["weight"]
    if hasattr(spec, "strides"):
        y = nn.conv2d(x, weight, spec.strides, spec.padding, spec.dilation, spec.groups)
    else:
        y = nn.dense(x, weight)
    y = y.astype(np.int64)
    y = y + (given["bias"].astype(np.int64)[_channels(y)] if "bias" in given else 0)
    assert np.array_equal(y, y.astype(np.int32))
    return y


def layer(spec, given):
    """A convolution or dense layer in the format "int8"; `given` holds an array for each role of `spec`."""
    one, y = spec.integer, sums(spec, given)
    at = _channels(y)
    if "scale" in given:
        return y.astype(np.float32) * given["scale"][at]
    pi = given["pi"].astype(np.int64).reshape(*given["pi"].shape, *[1] * (y.ndim - 2)) if "pi" in given else 1
    after_residual = spec.gate == "output" and "residual" in given
    y = rounded_quotient(y * given["multiplier"].astype(np.int64)[at] * (1 if after_residual else pi), one.shift)
    wins = True
    if "winners" in given:
        wins = nn.listed_channels(given["winners"], spec.winners.granularity, y.shape[1]) == 1
        wins = wins.reshape(*wins.shape, *[1] * (y.ndim - 2))
    if spec.gate == "branch":
        y = np.where(wins, y, 0)
    if "residual" in given:
        residual = one.residual
        if residual.low is not None:
            y = np.clip(y, residual.low, residual.high)
        other = given["residual"].astype(np.int64) - residual.zero
        y = rounded_quotient(y * residual.own + other * residual.other, residual.shift)
    if after_residual and "pi" in given:
        y = rounded_quotient(np.maximum(y, 0) * pi, one.pi_shift)
    y = np.clip(y + one.zero, one.low, one.high)
    if spec.gate in ("output", "listed"):
        y = np.where(wins, y, one.zero)
    return y.astype(np.uint8)


def channel_gate(spec, given):
    """(pi uint8 [N, C_out], winners int32 [N, kept])."""
    one, channels = spec.integer, given["rho"].size
    distance = np.abs(given["x"].astype(np.int64) - one.x_zero).sum((2, 3))
    mean = np.minimum(rounded_quotient(distance * one.mean_multiplier, one.mean_shift), 255)
    saliency = np.maximum(mean @ given["phi"].astype(np.int64) + given["rho"], 0)
    factor = np.minimum(rounded_quotient(saliency * one.pi_multiplier, one.pi_shift), 255)
    if spec.mode == "select":
        factor = np.ones_like(factor)
    scores, winners = saliency.reshape(len(saliency), -1, spec.granularity).sum(2), []
    for score in scores:
        ranked = sorted(range(len(score)), key=lambda group: (-score[group], group))
        winners.append(sorted(ranked[: spec.kept]))
    kept = nn.listed_channels(winners, spec.granularity, channels)
    return (factor * kept).astype(np.uint8), np.array(winners, np.int32)


def quantize(spec, x):
    """float32 to uint8."""
    nearest = np.round(x / np.float32(spec.scale)).astype(np.float64) + spec.zero  # the quotient is float32
    return np.clip(nearest, spec.low, spec.high).astype(np.uint8)


def dequantize(spec, x):
    """uint8 to float32."""
    return ((x.astype(np.int64) - spec.zero) * np.float64(np.float32(spec.scale))).astype(np.float32)


def mean_pool(spec, x):
    """uint8 [N, C, H, W] to [N, C, 1, 1]."""
    total = (x.astype(np.int64) - spec.x_zero).sum((2, 3), keepdims=True)
    mean = rounded_quotient(total * spec.multiplier, spec.shift)
    return np.clip(mean + spec.zero, spec.low, spec.high).astype(np.uint8)


def add(spec, x, y):
    """Two uint8 tensors of one shape."""
    left, right = x.astype(np.int64) - spec.x_zero, y.astype(np.int64) - spec.y_zero
    total = rounded_quotient(left * spec.own + right * spec.other, spec.shift)
    return np.clip(total + spec.zero, spec.low, spec.high).astype(np.uint8)


def _channels(y):
    """Where a vector over channels goes in the shape of y."""
    return (slice(None), *[None] * (y.ndim - 2))
