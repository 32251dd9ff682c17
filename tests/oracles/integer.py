"""What quantized layers mean, in numpy integers, written apart from the library (`espalier.core.integer` in words)."""

from __future__ import annotations

import numpy as np

from . import nn


def half_even(value, multiplier, shift: int):
    """value * multiplier / 2^shift to the nearest integer, ties to even."""
    product = np.asarray(value, np.int64) * np.asarray(multiplier, np.int64)
    floor, rest = product >> shift, product & ((1 << shift) - 1)
    half = (1 << shift) >> 1
    return floor + ((rest > half) | ((rest == half) & (shift > 0) & (floor % 2 == 1)))


def limited(value, one):
    """As bytes."""
    return np.clip(value + one.zero, one.low, one.high).astype(np.uint8)


def sums(spec, given):
    """int64: products and bias; float64 holds them exactly."""
    x = given["x"].astype(np.int64) - spec.integer.x_zero
    if hasattr(spec, "strides"):
        total = nn.conv2d(x, given["weight"], spec.strides, spec.padding, spec.dilation, spec.groups)
        return total.astype(np.int64) + given.get("bias", np.zeros(1, np.int64))[:, None, None]
    return nn.dense(x, given["weight"]).astype(np.int64) + given.get("bias", 0)


def layer(spec, given):
    """A quantized layer with all that is fused to it; `given` holds an array for each role of `spec`."""
    one, total = spec.integer, sums(spec, given)
    shape = (..., None, None) if total.ndim == 4 else (...,)
    if "scale" in given:
        return total.astype(np.float32) * given["scale"][shape]
    pi = given["pi"].astype(np.int64)[shape] if "pi" in given else None
    inside = pi is not None and (spec.gate == "branch" or "residual" not in given)
    factor = given["multiplier"].astype(np.int64)[shape]
    total = half_even(total, factor * pi if inside else factor, one.shift)
    if "residual" in given:
        other = one.residual
        if other.low is not None:
            total = np.clip(total, other.low, other.high)
        residual = given["residual"].astype(np.int64) - other.zero
        total = half_even(total * other.own + residual * other.other, 1, other.shift)
    if pi is not None and not inside:
        total = half_even(np.maximum(total, 0), pi, one.pi_shift)
    y = limited(total, one)
    if spec.gate == "listed":
        mask = nn.listed_channels(given["winners"], spec.winners.granularity, y.shape[1])[shape]
        y = np.where(mask > 0, y, one.zero).astype(np.uint8)
    return y


def channel_gate(spec, x, phi, rho):
    """(pi uint8 [N, C_out], winners int32 [N, kept]) of a quantized gate."""
    one = spec.integer
    total = np.abs(x.astype(np.int64) - one.x_zero).sum((2, 3))
    mean = np.minimum(half_even(total, one.mean_multiplier, one.mean_shift), 255)
    saliency = np.maximum(mean @ phi.astype(np.int64) + rho, 0)
    score = saliency.reshape(len(x), -1, spec.granularity).sum(2)
    winners = np.sort(np.argsort(-score, axis=1, kind="stable")[:, : spec.kept], axis=1).astype(np.int32)
    pi = np.minimum(half_even(saliency, one.pi_multiplier, one.pi_shift), 255) if spec.mode == "boost" else 1
    mask = nn.listed_channels(winners, spec.granularity, saliency.shape[1])
    return (pi * mask).astype(np.uint8), winners
