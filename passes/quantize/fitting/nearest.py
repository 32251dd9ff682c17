"""The nearest of a few integer levels.

Half-way points between integers are multiples of one half, so the floor of twice a value says which level is nearest:
one look-up instead of a search.
"""

from __future__ import annotations

import numpy as np


def nearest_codes(x: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Index of the level nearest to each x, uint8; ties go to the greater. Levels ascend; x is overwritten."""
    return np.take(_codes_of_cells(levels), half_cells(x, levels[0], levels[-1]))


def nearest_levels(x: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """A level nearest to each x, float32; levels ascend, x is overwritten."""
    if len(levels) == levels[-1] - levels[0] + 1:  # without gaps: rounding is faster than looking up
        return np.clip(np.rint(x, out=x), levels[0], levels[-1], out=x)
    return np.take(levels.astype(np.float32)[_codes_of_cells(levels)], half_cells(x, levels[0], levels[-1]))


def half_cells(x: np.ndarray, low: int, high: int) -> np.ndarray:
    """Which half-integer cell each x is in, intp: 0 is [low, low + 1/2), the last ends at high + 1; overwrites x."""
    x *= 2
    np.floor(x, out=x)
    x -= 2 * int(low)
    np.clip(x, 0, 2 * (int(high) - int(low)) + 1, out=x)
    return x.astype(np.intp)


def _codes_of_cells(levels: np.ndarray) -> np.ndarray:
    wide = levels.astype(np.int32)
    thresholds = wide[:-1] + wide[1:] - 2 * wide[0]
    return np.searchsorted(thresholds, np.arange(2 * (wide[-1] - wide[0]) + 2), side="right").astype(np.uint8)
