"""Pareto fronts: which points none other beats, and how much of the space of objectives they dominate."""

from __future__ import annotations

import heapq

import numpy as np


def front(losses: np.ndarray) -> np.ndarray:
    """Numbers of the rows of `losses` [N, M] that no other row dominates, less being better; of equals the first."""
    kept: list[int] = []
    for number in np.lexsort(losses.T[::-1]):  # in this order no row is dominated by a later one
        if not (losses[kept] <= losses[number]).all(1).any():
            kept.append(number)
    return np.array(sorted(kept), dtype=int)


def thinned(losses: np.ndarray, count: int) -> np.ndarray:
    """Numbers of at most `count` rows of a front [N, M], which dominate most together (hypervolume subset selection).

    Greedily: one row after the other is left out, the one without which least volume is lost; the best row of each
    objective stays where there is room for all of these. Objectives are scaled to the front's own ranges, over a
    reference point that lies a tenth of them beyond it.
    """
    low, high = losses.min(0), losses.max(0)
    scaled = (losses - low) / np.where(high > low, high - low, 1)
    kept, reference = [*range(len(losses))], np.full(losses.shape[1], 1.1)
    best = set(losses.argmin(0).tolist())
    removable = [one for one in kept if one not in best or len(best) > count]
    lost = [(0.0, number, 0) for number in removable]  # at least, without this row, as it was among so many
    while len(kept) > max(1, count):
        _, number, among = heapq.heappop(lost)
        rest = [one for one in kept if one != number]
        if among == len(kept):
            kept = rest
        else:  # which can only grow when others are left out
            heapq.heappush(lost, (_alone(scaled[number], scaled[rest], reference), number, len(kept)))
    return np.array(kept, dtype=int)


def _alone(row: np.ndarray, others: np.ndarray, reference: np.ndarray) -> float:
    """The volume that the row [M] dominates and none of the others [N, M]."""
    within = np.maximum(others, row)
    return float(np.prod(reference - row)) - hypervolume(within[front(within)], reference)


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
