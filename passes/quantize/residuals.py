"""How tensors of different scales are added in integers."""

from __future__ import annotations

import math

import numpy as np

from espalier.core.integer import ADD_BITS, ResidualArithmetic, multipliers

from .scales import Numbers


def residual_arithmetic(residual: Numbers, y: Numbers) -> ResidualArithmetic:
    """For sums that are already in steps of y: a plain add if the residual is too.

    Otherwise the sums are limited first, to what the residual may still bring into 0 .. top: 32 bits then hold all.
    """
    if residual.scale == y.scale:
        return ResidualArithmetic(residual.zero)
    own, other, shift = add_multipliers(1.0, residual.scale / y.scale)
    reach = [(number - residual.zero) * residual.scale / y.scale for number in (0, residual.top)]
    low = -y.zero - math.ceil(max(reach)) - 1
    high = y.top - y.zero - math.floor(min(reach)) + 1
    return ResidualArithmetic(residual.zero, own, other, shift, low, high)


def add_multipliers(own: float, other: float) -> tuple[int, int, int]:
    """(own, other, shift): integers below 2^20 whose ratio to 2^shift is nearest to these."""
    numbers, shift = multipliers(np.array([own, other]), ADD_BITS)
    return int(numbers[0]), int(numbers[1]), shift
