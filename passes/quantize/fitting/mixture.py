"""A mixture of two Gaussians over the weights of a layer.

Source: Zhao et al., Focused Quantization for Sparse CNNs, NeurIPS 2019, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GROUPS = 2048
STEPS = 500
TOLERANCE = 1e-8
LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class Mixture:
    """q(x) = sum_c proportion_c * N(x; mean_c, deviation_c^2), components by ascending mean.

    means, deviations, proportions: float64 [2]; the proportions sum to 1.
    """

    means: np.ndarray
    deviations: np.ndarray
    proportions: np.ndarray

    def log_densities(self, x: np.ndarray) -> np.ndarray:
        """log(proportion_c * N(x; c)) of each component, [2, ...]."""
        wide = (2, *[1] * x.ndim)
        mean, deviation = self.means.reshape(wide), self.deviations.reshape(wide)
        weight = np.log(self.proportions / self.deviations).reshape(wide)
        return weight - 0.5 * np.log(2 * np.pi) - 0.5 * ((x - mean) / deviation) ** 2

    def posterior(self, x: np.ndarray) -> np.ndarray:
        """The probability that each x is of the second component, the one with the greater mean."""
        first, second = self.log_densities(x)
        return 1 / (1 + np.exp(np.clip(first - second, -700, 700)))

    def separation(self, variance: float) -> float:
        """The Wasserstein separation of the components, ((m1 - m2)^2 + (s1 - s2)^2) / variance of what was fitted."""
        return float((np.diff(self.means)[0] ** 2 + np.diff(self.deviations)[0] ** 2) / variance)


def fit_mixture(x: np.ndarray) -> Mixture | None:
    """The mixture by expectation maximisation; None if x, [n], has not values of both signs to start from.

    It starts from the mean and the deviation of the negative and of the positive values, with proportions of one half,
    and ends when a step adds less than 1e-8 to the mean log-likelihood, or after 500 steps. Responsibilities are taken
    for 2,048 groups of neighbouring values at once, their first two moments are exact. Deviations are kept above a
    thousandth of the whole's, so that no component collapses onto a single value.
    """
    if not (x.min(initial=0) < 0 < x.max(initial=0)):
        return None
    counts, means, squares = group_moments(np.sort(x).astype(np.float64))
    floor = LEAST_DEVIATION * float(np.std(x, dtype=np.float64))
    mixture = _maximised(np.stack([means < 0, means >= 0]) * counts, means, squares, floor)
    mixture, likelihood = Mixture(mixture.means, mixture.deviations, np.full(2, 0.5)), -np.inf
    for _ in range(STEPS):
        logs = mixture.log_densities(means)
        total = np.logaddexp(*logs)
        before, likelihood = likelihood, float(np.average(total, weights=counts))
        if likelihood - before < TOLERANCE:
            break
        mixture = _maximised(np.exp(logs - total) * counts, means, squares, floor)
    return mixture


def group_moments(ascending: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """Of up to 2,048 groups of neighbours, and of each sign apart: the sum of weights, and the means of x and x^2."""
    if not ascending.size:
        return (ascending,) * 3
    even = np.linspace(0, len(ascending), min(GROUPS, len(ascending)), endpoint=False).astype(np.intp)
    starts = np.unique(np.append(even, min(np.searchsorted(ascending, 0), len(ascending) - 1)))
    weights = np.ones_like(ascending) if weights is None else weights
    total = np.add.reduceat(weights, starts)
    safe = np.where(total > 0, total, 1)
    means = np.add.reduceat(weights * ascending, starts) / safe
    return total, means, np.add.reduceat(weights * ascending**2, starts) / safe


def _maximised(responsible: np.ndarray, means: np.ndarray, squares: np.ndarray, floor: float) -> Mixture:
    total = np.maximum(responsible.sum(axis=1), np.finfo(np.float64).tiny)
    mean = responsible @ means / total
    variance = responsible @ squares / total - mean**2
    deviation = np.sqrt(np.maximum(variance, floor**2))
    order = np.argsort(mean, kind="stable")
    return Mixture(mean[order], deviation[order], (total / total.sum())[order])
