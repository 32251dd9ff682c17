"""Codebooks: the integers that leave the least squared error, found exactly.

Levels are integers in the kernels' range, so the best 2^b of them are a shortest path over that range: weighted k-means
in one dimension by dynamic programming (Wang and Song, Ckmeans.1d.dp, The R Journal 2011), with centres on a grid. A
weight's nearest level depends only on its half-integer cell, so three moments of each cell are all that is needed.
"""

from __future__ import annotations

import numpy as np

from espalier.core.formats import Codebook, Uniform
from espalier.core.quantized_weights import QuantizedWeights

from .nearest import half_cells
from .problem import Problem
from .scales import refine_scales, search_scales

WIDENINGS = (1.0, 1.5, 2.0, 3.0, 4.0)
"""Starts, as multiples of the scale that uniform levels of as many bits take: wider ones reach outliers."""
ROUNDS = 4
LEAST_GAIN = 1e-3


def fit_codebook(problem: Problem, fmt: Codebook, width_bits: int) -> QuantizedWeights:
    """The levels of the layer and the scale of each channel, alternately, until neither lowers the error.

    It starts from the scales of uniform<bits>, whose levels are one choice of 2^bits integers: its error is not greater
    than that of uniform<bits>.
    """
    count, finer = 2**fmt.bits, np.float32(2 ** (width_bits - fmt.bits))
    uniform = search_scales(problem, Uniform(fmt.bits).levels(width_bits)) / finer
    starts = [uniform * np.float32(wider) for wider in WIDENINGS]
    fits = [(*best_levels(cell_moments(problem, scale, width_bits), count), scale) for scale in starts]
    error, levels, scale = min(fits, key=lambda fit: fit[0])
    for _ in range(ROUNDS):
        refined = refine_scales(problem, levels, scale)
        lower, better = best_levels(cell_moments(problem, refined, width_bits), count)
        if lower > error * (1 - LEAST_GAIN):
            break
        error, levels, scale = lower, better, refined
    return problem.quantized(fmt, levels, problem.absolute(scale))


def cell_moments(problem: Problem, scale: np.ndarray, width_bits: int) -> np.ndarray:
    """Sums of 1, x and x^2 over the weights of each half-integer cell, float64 [3, 2^(width_bits + 1) - 1].

    x is a weight divided by its channel's scale; every weight counts what a squared error of x costs the layer. Cell j
    begins at (j - 2^width_bits) / 2; the first and the last one hold what is beyond, too.
    """
    low, high = -(2 ** (width_bits - 1)), 2 ** (width_bits - 1) - 1
    moments = np.zeros((3, 2 * (high - low) + 1))
    cost = (scale.astype(np.float64) * problem.peak) ** 2
    for part, rows, importance in problem.blocks():
        x = rows / scale[part, None]
        counted = np.broadcast_to(cost[part, None], x.shape)
        counted = (counted if importance is None else counted * importance).ravel()
        cells = half_cells(x.copy(), low, high).ravel()
        for power, moment in enumerate(moments):
            moment += np.bincount(cells, counted * x.ravel() ** power, minlength=len(moment))
    return moments


def best_levels(moments: np.ndarray, count: int) -> tuple[float, np.ndarray]:
    """The least error of `count` integer levels or fewer, 0 among them, and the levels: int16, ascending.

    moments: as from `cell_moments`.
    """
    zero = (moments.shape[1] + 1) // 2
    signs = np.array([[1], [-1], [1]])
    right = _chains(moments[:, zero:], count - 1)
    left = _chains(signs * moments[:, zero - 1 :: -1], count - 1)
    errors = left[0][:, None] + right[0][None, :]
    chosen = np.add.outer(np.arange(len(errors)), np.arange(errors.shape[1]))
    negative, positive = np.unravel_index(np.where(chosen < count, errors, np.inf).argmin(), errors.shape)
    levels = [*(-one for one in left[1][negative]), *right[1][positive], 0]
    return float(errors[negative, positive]), np.unique(np.array(levels, np.int16))


def _chains(moments: np.ndarray, most: int) -> tuple[np.ndarray, list[list[int]]]:
    """For k = 0 .. most levels above 0, as far as there are integers: the least error, and the levels.

    moments: of the cells from 0 upwards.
    """
    last = moments.shape[1] // 2
    sums = np.concatenate([np.zeros((3, 1)), moments.cumsum(axis=1)], axis=1)

    def error(level, begin, end):
        zeroth, first, second = sums[:, end] - sums[:, begin]
        return second - 2 * level * first + level**2 * zeroth

    low, high = np.arange(last + 1)[:, None], np.arange(last + 1)[None, :]
    between = error(low, 2 * low, low + high) + error(high, low + high, 2 * high)  # to the next level above
    between = np.where(low < high, between, np.inf)
    above = error(high[0], 2 * high[0], np.full(last + 1, moments.shape[1]))
    reached, parents = np.where(high[0] == 0, 0.0, np.inf), []
    errors, chains = [above[0]], [[]]
    for _ in range(min(most, last)):
        through = reached[:, None] + between
        parents.append(through.argmin(axis=0))
        reached = through.min(axis=0)
        errors.append((reached + above).min())
        chains.append(_chain(parents, int((reached + above).argmin())))
    return np.array(errors), chains


def _chain(parents: list[np.ndarray], level: int) -> list[int]:
    found = []
    for parent in reversed(parents):
        found.append(level)
        level = int(parent[level])
    return found
