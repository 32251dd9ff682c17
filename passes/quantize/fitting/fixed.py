"""Fixed-point weights: nothing to fit, but a range to keep."""

from __future__ import annotations

import math

import numpy as np

from espalier.core.errors import InvalidInputError
from espalier.core.formats import FRACTIONS, Fixed
from espalier.core.quantized_weights import QuantizedWeights

from .problem import Problem


def fit_fixed(problem: Problem, fmt: Fixed, width_bits: int) -> QuantizedWeights:
    """Each weight rounded to a multiple of 2^-fraction, ties upwards.

    Raises InvalidInputError if that leaves the range; the message has the most fraction bits that do not.
    """
    levels = fmt.levels(width_bits)
    low, high = float(problem.weights.min()), float(problem.weights.max())
    if not _is_inside(low, high, fmt.fraction, levels):
        fitting = [f for f in FRACTIONS if _is_inside(low, high, f, levels)]
        accepted = f"at most {fitting[-1]} fraction bits" if fitting else "formats with a scale of their own"
        raise InvalidInputError(f"{fmt}: weights from {low:.6g} to {high:.6g} leave its range; accepted are {accepted}")
    return problem.quantized(fmt, levels, np.full(len(problem.rows), math.ldexp(1, -fmt.fraction)))


def _is_inside(low: float, high: float, fraction: int, levels: np.ndarray) -> bool:
    nearest = [math.floor(math.ldexp(value, fraction) + 0.5) for value in (low, high)]
    return nearest[0] >= levels[0] and nearest[1] <= levels[-1]
