"""A Gaussian process with a Matern kernel (smoothness 5/2) and noise, over standardised features; from scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np

SEARCH_POINTS, SEARCH_GROWTH = 200, 1.5
"""The kernel's three numbers are searched on so many points, again when there are so many times as many samples."""

SAME = 1e-6
"""A column of smaller deviation never changed."""

THETA = np.log([0.05, 6.0, 1e-3])
"""Variance, length scale in standard deviations of the features, and noise variance before any search."""


def scales(rows: np.ndarray) -> np.ndarray:
    """The standard deviation of each column; 1 for one that never changed, of which nothing was learned.

    With a tiny number instead, rows that differ there would be infinitely far from all that is known.
    """
    deviation = rows.std(0)
    return np.where(deviation > SAME, deviation, 1.0)


class MaternProcess:
    """Values of rows of features. theta: logarithms of the kernel's numbers. searched: points when they were found."""

    def __init__(self, theta: np.ndarray = THETA, searched: int = 0) -> None:
        self.theta, self.searched = theta, searched
        self.rows, self.values = np.zeros((0, 0)), np.zeros(0)
        self.process = None

    def fit(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Learn from these points [N, features] and [N] alone; the kernel's numbers of an earlier call may stay."""
        self.rows, self.values = rows, values
        if len(rows) >= max(8, SEARCH_GROWTH * self.searched):
            self._search()
        self.condition()

    def condition(self) -> None:
        """See the points, with the kernel's numbers as they are."""
        seen = len(self.rows) > 0
        self.process = self._process(optimizer=None).fit(self._standard(self.rows), self.values) if seen else None

    def predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean [M] and covariance [M, M]; of a process that has seen points."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of variances that rounding made negative, which are clipped
            return self.process.predict(self._standard(rows), return_cov=True)

    def _standard(self, rows: np.ndarray) -> np.ndarray:
        return (rows - self.rows.mean(0)) / scales(self.rows)

    def _process(self, **options):
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        kernel = ConstantKernel(1, (1e-3, 3)) * Matern(1, (0.5, 50), nu=2.5) + WhiteKernel(1, (1e-5, 0.1))
        return GaussianProcessRegressor(kernel.clone_with_theta(self.theta), **options)

    def _search(self) -> None:
        """The kernel's numbers of the greatest likelihood, on points spread over the samples."""
        chosen = np.linspace(0, len(self.rows) - 1, min(len(self.rows), SEARCH_POINTS)).astype(int)
        process = self._process()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn's, of a number at the end of its range
            process.fit(self._standard(self.rows)[chosen], self.values[chosen])
        self.theta, self.searched = process.kernel_.theta, len(self.rows)
