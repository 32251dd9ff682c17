"""Where a cost model expects an improvement, its doubts included.

A batch is put together one by one: each joins for what the best of the batch is expected to gain by it, over joint
draws from the model's prediction. So a batch does not hold the same bet several times. This is the greedy form of
parallel expected improvement by sampling: Wilson, Hutter and Deisenroth, Maximizing acquisition functions for Bayesian
optimization, NeurIPS 2018 (sections 3 and 4). A model without doubts gives its best choices in order.
"""

from __future__ import annotations

import numpy as np

from .interface import Proposal, Search, best_seconds, unseen

DRAWS = 256

LIKELIEST = 64
"""Draws are made of so many options, those with the lowest predictions less a standard deviation."""


class Guided(Search):
    """Expected improvement over a batch; the rule's own choice is in the first one, to be compared with."""

    name = "guided"

    def propose(self, task, space, seen, model, count, random) -> Proposal:
        left = unseen(space, seen)
        if not left:
            return Proposal()
        best_s, prediction = best_seconds(task, space, seen, model), model.predict(task, left)
        promise = prediction.log_seconds - prediction.deviation
        must = [0] if not seen else []  # the rule's own choice, which comes first in a space
        kept = np.array(sorted({*must, *np.argsort(promise, kind="stable")[:LIKELIEST].tolist()}))
        part = type(prediction)(prediction.log_seconds[kept], prediction.covariance[np.ix_(kept, kept)])
        gains = np.maximum(0.0, best_s - np.exp(part.draws(DRAWS, random)))
        chosen, gain_s = _greedy(gains, -part.log_seconds, count, must)
        return Proposal(tuple(left[kept[number]] for number in chosen), gain_s)


def _greedy(gains: np.ndarray, preference: np.ndarray, count: int, chosen: list[int]) -> tuple[list[int], float]:
    """Columns of gains [draws, options] whose best is largest in the mean; `preference` [options] decides ties."""
    best = gains[:, chosen].max(axis=1, initial=0.0)
    while len(chosen) < min(count, gains.shape[1]):
        means = np.maximum(best[:, None], gains).mean(axis=0)
        means[chosen] = -np.inf
        tied = np.flatnonzero(means >= means.max() * (1 - 1e-9))
        chosen = [*chosen, int(tied[np.argmax(preference[tied])])]
        best = np.maximum(best, gains[:, chosen[-1]])
    return chosen, float(best.mean())
