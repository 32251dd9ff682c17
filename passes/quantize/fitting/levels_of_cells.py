"""The integer levels of the least squared error, found exactly.

Levels are integers in a range, so the best few of them are a shortest path over that range: weighted k-means in one
dimension by dynamic programming, with centres on a grid. Which level is nearest to x depends only on the half-integer
cell of x, so two moments of each cell are all that is needed, however many weights there are.

Source of the recurrence: Wang and Song, Ckmeans.1d.dp: Optimal k-means Clustering in One Dimension by Dynamic
Programming, The R Journal 3/2, 2011.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .nearest import half_cells
from .problem import Problem


def cell_moments(problem: Problem, scale: np.ndarray, width_bits: int, times: int = 1) -> np.ndarray:
    """Sums of 1 and of x over the weights of each half-integer cell, float64 [2, times * 2^(width_bits + 1)].

    x is a weight divided by its channel's scale, and counts what a squared error of 1 costs the layer. Cells cover
    [-half, half), half = times * 2^(width_bits - 1); what is beyond belongs to the first or to the last one.
    """
    half = times * 2 ** (width_bits - 1)
    moments = np.zeros((2, 4 * half))
    cost = (scale.astype(np.float64) * problem.peak) ** 2
    for part, rows, importance in problem.blocks():
        x = rows / scale[part, None]
        counted = np.broadcast_to(cost[part, None], x.shape)
        counted = (counted if importance is None else counted * importance).ravel()
        cells = half_cells(x.copy(), -half, half - 1).ravel()
        moments[0] += np.bincount(cells, counted, minlength=4 * half)
        moments[1] += np.bincount(cells, counted * x.ravel(), minlength=4 * half)
    return moments


def widened(moments: np.ndarray, times: int, width_bits: int) -> np.ndarray:
    """The moments for scales that are `times` as great, from those of a wider range, cells as without `times`."""
    merged = moments.reshape(2, -1, times).sum(axis=2) * [[times**2], [times]]
    beyond = (merged.shape[1] - 2 ** (width_bits + 1)) // 2
    inside = merged[:, beyond : merged.shape[1] - beyond].copy()
    inside[:, 0] += merged[:, :beyond].sum(axis=1)
    inside[:, -1] += merged[:, merged.shape[1] - beyond :].sum(axis=1)
    return inside


def best_levels(moments: np.ndarray, count: int, energy: float) -> tuple[float, np.ndarray]:
    """The least error of at most `count` integer levels, 0 among them, and the levels: int16, ascending.

    moments: as from `cell_moments`; energy: the error if 0 were the only level.
    """
    half = moments.shape[1] // 4
    right = _chains(moments[:, 2 * half :], half - 1, count - 1)
    left = _chains(moments[:, 2 * half - 1 :: -1] * [[1], [-1]], half, count - 1)
    gains = left.gains[:, None] + right.gains
    fits = np.add.outer(np.arange(gains.shape[0]), np.arange(gains.shape[1])) < count
    negative, positive = np.unravel_index(np.where(fits, gains, np.inf).argmin(), gains.shape)
    levels = [*(-one for one in left.levels(negative)), 0, *reversed(right.levels(positive))]
    return energy + float(gains[negative, positive]), np.array(levels, np.int16)


@dataclass(frozen=True)
class _Chains:
    """The best k levels above 0, for every k.

    gains: by how much they change the error, [K + 1]; last: the greatest of them, [K + 1].
    parents: for k = 1 .. K, by level as the k-th one, the level before it.
    """

    gains: np.ndarray
    last: np.ndarray
    parents: list[np.ndarray]

    def levels(self, k: int) -> list[int]:
        """The k levels, downwards."""
        found, level = [], int(self.last[k])
        for parent in reversed(self.parents[:k]):
            found.append(level)
            level = int(parent[level])
        return found


def _chains(moments: np.ndarray, last: int, most: int) -> _Chains:
    """Chains of at most `most` levels among 1 .. last; moments: of the cells from 0 upwards."""
    between, above = _changes(moments, last)
    reached, parents = np.where(np.arange(last + 1) == 0, 0.0, np.inf), []
    totals = [reached + above]
    for _ in range(min(most, last)):
        through = reached[:, None] + between
        parents.append(through.argmin(axis=0))
        reached = through.min(axis=0)
        totals.append(reached + above)
    return _Chains(np.min(totals, axis=1), np.argmin(totals, axis=1), parents)


def _changes(moments: np.ndarray, last: int) -> tuple[np.ndarray, np.ndarray]:
    """What levels change of the error: all cells from a level to the next above it, and all above the last level."""
    sums = np.concatenate([np.zeros((2, 1)), moments.cumsum(axis=1)], axis=1)

    def change(level, begin, end):
        zeroth, first = sums[:, end] - sums[:, begin]
        return level**2 * zeroth - 2 * level * first

    every = np.arange(last + 1)
    low, high = every[:, None], every[None, :]
    between = change(low, 2 * low, low + high) + change(high, low + high, 2 * high)
    above = change(every, 2 * every, np.full(last + 1, moments.shape[1]))
    return np.where(low < high, between, np.inf), above
