"""The two components of recentralised shifts, found again in the weights that were fitted to them."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np

EXPONENTS = range(7)
"""Of shifts within s8."""


def components_of(weights: np.ndarray) -> tuple[tuple[int, int], ...]:
    """(mean, step) of at most two components: every weight is 0 or mean + step * s * 2^e of one of them.

    weights: int8. The empty tuple if there are no such components, or if the weights are plain shifts. Of several
    choices the one with the fewest exponents is taken, then the smallest steps.
    """
    levels = frozenset(np.unique(weights).tolist()) - {0}
    shifts = {0} | {sign << e for e in EXPONENTS for sign in (1,)} | {-(1 << e) for e in EXPONENTS}
    if levels <= shifts:
        return ()
    for top in EXPONENTS:
        reach = sorted({0, *(1 << e for e in range(top + 1)), *(-(1 << e) for e in range(top + 1))})
        found = _pair(levels, reach)
        if found:
            return found
    return ()


def _pair(levels: frozenset, reach: list[int]) -> tuple[tuple[int, int], ...]:
    most = max(map(abs, levels))
    candidates = {}
    for step in range(1, most + 1):
        for mean in range(-127, 128):
            covered = levels & {mean + step * one for one in reach}
            if covered:
                candidates.setdefault(frozenset(covered), (mean, step))
    largest = [one for one in candidates if not any(one < other for other in candidates)]
    for one, other in combinations_with_replacement(sorted(largest, key=lambda one: (-len(one), min(one))), 2):
        if one | other == levels:
            return tuple(sorted({candidates[one], candidates[other]}))
    return ()
