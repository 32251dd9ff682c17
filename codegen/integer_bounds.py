"""What integers of a quantized layer can reach, and whether float32 holds them: the same for every target's kernels.

The rescaling that it is about is in `cpu/kernels/requantize.py` and `cuda/templates/requantize.cuh`.
"""

from __future__ import annotations

import math

import numpy as np

from espalier.core.errors import InvalidModelError
from espalier.core.integer import ADD_BITS, ResidualArithmetic
from espalier.core.layers import ChannelGateSpec, LayerSpec

EXACT = 1 << 24
"""Integers up to this are float32 numbers."""

WHOLE = 1 << 22
"""Magnitude below which 1.5 * 2^23 more has the integer in its low bits."""

PART = 12
"""Bits of the lower part of a residual's multipliers, where their products with sums do not fit 32 bits as they are."""

BEYOND = 512
"""Results of this magnitude are clipped whatever the zero point."""


def check_sums(spec: LayerSpec, constants: dict[str, np.ndarray]) -> None:
    """Raise InvalidModelError if a sum may exceed 32 bits."""
    worst = int(largest_sums(spec, constants).max())
    if worst >= 1 << 31:
        raise InvalidModelError(
            f"layer {spec.name}: its sums of products can reach {worst}, accepted are those below 2^31 = {1 << 31}; "
            "quantize its weights to fewer bits"
        )


def rounds_in_float32(spec: LayerSpec, constants: dict[str, np.ndarray]) -> bool:
    """Whether one fused multiply-add in float32 rescales every sum to the same integer, or to one that is clipped."""
    limit, factor = largest_result(spec), 255 if boosts_inside(spec) else 1
    multiplier = constants["multiplier"].astype(np.int64)
    if limit is None or int(multiplier.max()) * factor >= EXACT:
        return False
    is_exact = largest_sums(spec, constants) <= EXACT
    is_clipped = multiplier * EXACT >= max(2 * BEYOND, 2 * limit) << min(spec.integer.shift, 50)
    return bool(np.all(is_exact | is_clipped | (multiplier == 0)))


def largest_sums(spec: LayerSpec, constants: dict[str, np.ndarray]) -> np.ndarray:
    """int64 [C_out]: magnitudes that no sum exceeds."""
    low, high = sum_range(spec, constants)
    return np.maximum(-low, high)


def sum_range(spec: LayerSpec, constants: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """int64 [C_out]: the least and the greatest sum that any input can give."""
    weight = constants["weight"].astype(np.int64).reshape(len(constants["weight"]), -1)
    positive, negative = np.maximum(weight, 0).sum(1), np.minimum(weight, 0).sum(1)
    below, above = spec.integer.x_zero, 255 - spec.integer.x_zero
    bias = constants.get("bias", np.zeros(len(weight), np.int32)).astype(np.int64)
    return bias + negative * above - positive * below, bias + positive * above - negative * below


def boosts_inside(spec: LayerSpec) -> bool:
    """Whether pi is a factor of the multiplier."""
    return "pi" in spec.roles and (spec.gate == "branch" or "residual" not in spec.roles)


def largest_result(spec: LayerSpec) -> int | None:
    """A magnitude at which rescaled sums may be cut because the result is clipped; None if int32 does not suffice."""
    one = spec.integer
    beyond = BEYOND
    if "pi" in spec.roles and not boosts_inside(spec):
        beyond <<= one.pi_shift
    if "residual" not in spec.roles:
        return beyond
    residual = one.residual
    if residual.own <= 0 or residual.other < 0:
        return None
    limit = math.ceil(((beyond << residual.shift) + 255 * residual.other) / residual.own) + 1
    if residual.low is not None:
        limit = max(limit, abs(residual.low), abs(residual.high))
    largest = limit * residual.own + 255 * residual.other + (1 << residual.shift)
    boosted = 255 * ((largest >> residual.shift) + 1) + (1 << one.pi_shift)
    summed = largest >> PART if in_parts(residual) else largest
    return limit if max(summed, boosted, limit << PART + 1) < 1 << 31 and limit < WHOLE - 2 * BEYOND else None


def in_parts(residual: ResidualArithmetic) -> bool:
    """Whether the multipliers are divided into an upper and a lower part."""
    return max(residual.own, residual.other) >= 1 << ADD_BITS and residual.shift > PART


def check_scores(spec: ChannelGateSpec, phi: np.ndarray, rho: np.ndarray) -> None:
    """Raise InvalidModelError if the score of a group may exceed 32 bits."""
    worst = np.abs(phi.astype(np.int64)).sum(0) * 255 + np.abs(rho.astype(np.int64))
    worst = int(worst.reshape(-1, spec.granularity).sum(1).max())
    if worst >= 1 << 31:
        raise InvalidModelError(
            f"layer {spec.name}: the scores of its channel gate can reach {worst}, accepted are those below 2^31"
        )
