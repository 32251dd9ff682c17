"""Minimal filtering: the transforms behind Winograd convolution, exact and generated from their points.

F(m, r) computes m outputs of a correlation with r taps from m + r - 1 inputs d and as many products:
y = A^T [(G g) * (B^T d)]. Sources: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016;
the construction by interpolation is Cook's and Toom's (Blahut, Fast Algorithms for Signal Processing, chapter 5).
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np

POINTS = {2: (0, 1, -1), 3: (0, 1, -1, 2), 4: (0, 1, -1, 2, -2)}
"""Interpolation points by the number of outputs of a tile, for three taps; infinity is the last one.

Pairs of opposite points share half of their transforms' arithmetic."""

TAPS = 3

ERROR_GROWTH = {2: 1.0, 3: 3.0, 4: 6.0}
"""Rounding errors of F(m x m, 3 x 3) in float32, root mean square, at most about so many times those of direct sums."""


@cache
def transforms(outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A^T [m, m+2], G [m+2, 3], B^T [m+2, m+2]) for m outputs and three taps, float64 and exact."""
    points = [Fraction(point) for point in POINTS[outputs]]
    size = len(points) + 1
    others = [[other for j, other in enumerate(points) if j != i] for i in range(len(points))]
    scales = [_product(point - other for other in rest) for point, rest in zip(points, others)]
    output = [[point**i for point in points] + [Fraction(i == outputs - 1)] for i in range(outputs)]
    taps = [[point**j / scale for j in range(TAPS)] for point, scale in zip(points, scales)]
    taps.append([Fraction(j == TAPS - 1) for j in range(TAPS)])
    data = [_with_roots(rest) + [Fraction(0)] * (size - len(rest) - 1) for rest in others] + [_with_roots(points)]
    return tuple(np.array(matrix, dtype="float64") for matrix in (output, taps, data))


def _product(factors) -> Fraction:
    result = Fraction(1)
    for factor in factors:
        result *= factor
    return result


def _with_roots(roots: list[Fraction]) -> list[Fraction]:
    """Coefficients, lowest first, of the monic polynomial with these roots."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [a - root * b for a, b in zip(shifted, [*coefficients, Fraction(0)])]
    return coefficients
