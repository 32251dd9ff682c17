"""Pareto fronts: which points none other beats, and how much of the space of objectives they dominate."""

from __future__ import annotations

import numpy as np


def front(losses: np.ndarray) -> np.ndarray:
    """Numbers of the rows of `losses` [N, M] that no other row dominates, less being better; of equals the first."""
    kept: list[int] = []
    for number in np.lexsort(losses.T[::-1]):  # in this order no row is dominated by a later one
        if not (losses[kept] <= losses[number]).all(1).any():
            kept.append(number)
    return np.array(sorted(kept), dtype=int)


def thinned(losses: np.ndarray, count: int) -> np.ndarray:
    """Numbers of at most `count` rows of a front [N, M], which dominate most together.

    One row after the other is left out, the one without which least volume is lost; the best row of each objective
    stays where there is room for all of these. Objectives are scaled to the front's own ranges, over a reference point
    that lies a tenth of them beyond it.
    """
    low, high = losses.min(0), losses.max(0)
    scaled = (losses - low) / np.where(high > low, high - low, 1)
    kept, reference = [*range(len(losses))], np.full(losses.shape[1], 1.1)
    ends = set(losses.argmin(0).tolist()) if len(losses) else set()
    removable = set(kept) - (ends if len(ends) <= count else set())
    while len(kept) > max(1, count):
        rests = [[one for one in kept if one != out] for out in removable & set(kept)]
        kept = max(rests, key=lambda rest: hypervolume(scaled[rest], reference))
    return np.array(kept, dtype=int)


def hypervolume(losses: np.ndarray, reference: np.ndarray) -> float:
    """The volume between the rows [N, M] and the reference point [M] that some row dominates; exact."""
    inside = losses[(losses < reference).all(1)] if len(losses) else losses
    if len(inside) == 0:
        return 0.0
    if losses.shape[1] == 1:
        return float(reference[0] - inside.min())
    order = inside[:, -1].argsort()
    total, ends = 0.0, np.append(inside[order, -1][1:], reference[-1])
    for number, end in enumerate(ends):  # slices of the last objective, in which the others are a smaller problem
        height = end - inside[order[number], -1]
        if height > 0:
            total += height * hypervolume(inside[order[: number + 1], :-1], reference[:-1])
    return float(total)
