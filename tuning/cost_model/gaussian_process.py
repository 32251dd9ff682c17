"""A Gaussian process on what the analytic rule gets wrong.

The prior mean is the rule, log(cycles) plus the log of a cycle's seconds; the process learns the residual, and where it
has seen nothing it says the rule's figure and a wide margin. With about a hundred samples this beats boosted trees and
processes without the rule: Ferianc et al., Improving Performance Estimation for FPGA-based Accelerators for
Convolutional Neural Networks, ARC 2020 (section 3).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from espalier.core.choices import Option, Task
from espalier.core.errors import InvalidInputError
from espalier.core.files import read_arrays

from .analytic import NO_CLOCK_LOG_S
from .features import FEATURES, feature_rows
from .interface import FORMAT, CostModel, Prediction, Sample, check_header, fitted_log_cycle_s, log_cycles

MOST_POINTS = 1000
"""The latest samples; the time to fit grows with their cube."""

SEARCH_POINTS, SEARCH_GROWTH = 200, 1.5
"""The kernel's three numbers are searched on so many points, again when there are so many times as many samples."""

THETA = np.log([0.05, 6.0, 1e-3])
"""Variance, length scale in standard deviations of the features, and noise variance before any search."""

PRIOR_DEVIATION = 0.3
"""Of the residual before anything was measured."""


class ResidualProcess(CostModel):
    """scikit-learn's process with a Matern kernel (smoothness 5/2) and noise, over standardised features.

    What a loaded model had learned stays when it is fitted again: its residuals come before those of the samples.
    """

    name, suffix = "gp", ".npz"

    def __init__(self) -> None:
        self.theta, self.searched, self.log_cycle_s = THETA, 0, NO_CLOCK_LOG_S
        self.rows, self.residuals = np.zeros((0, len(FEATURES))), np.zeros(0)
        self.inherited = (self.rows, self.residuals)
        self.process = None

    def fit(self, samples: Sequence[Sample]) -> None:
        latest = samples[-MOST_POINTS:]
        self.log_cycle_s = fitted_log_cycle_s(latest) if latest else NO_CLOCK_LOG_S
        old_rows, old_residuals = self.inherited
        self.rows = np.concatenate([old_rows, *(feature_rows(one.task, [one.option]) for one in latest)])[-MOST_POINTS:]
        measured = np.log([one.seconds for one in latest])
        residuals = measured - log_cycles([one.option for one in latest]) - self.log_cycle_s
        self.residuals = np.concatenate([old_residuals, residuals])[-MOST_POINTS:]
        if len(self.rows) >= max(8, SEARCH_GROWTH * self.searched):
            self._search()
        self._condition()

    def predict(self, task: Task, options: Sequence[Option]) -> Prediction:
        mean = log_cycles(options) + self.log_cycle_s
        if self.process is None:
            return Prediction(mean, PRIOR_DEVIATION**2 * np.eye(len(mean)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of variances that rounding made negative, which we clip
            residual, covariance = self.process.predict(self._standard(feature_rows(task, options)), return_cov=True)
        return Prediction(mean + residual, covariance)

    def save(self, path: Path) -> None:
        header = {"format": FORMAT, "model": self.name, "features": "\n".join(FEATURES)}
        arrays = {"rows": self.rows, "residuals": self.residuals, "theta": self.theta}
        with open(path, "wb") as file:
            np.savez(file, log_cycle_s=self.log_cycle_s, searched=self.searched, **header, **arrays)

    @classmethod
    def load(cls, path: Path) -> ResidualProcess:
        stored = {name: one.item() if one.ndim == 0 else one for name, one in read_arrays(path, "cost model").items()}
        check_header(path, stored, {"model": cls.name, "features": "\n".join(FEATURES)})
        model = cls()
        try:
            for name in ("rows", "residuals", "theta", "log_cycle_s", "searched"):
                setattr(model, name, stored[name])
            model.inherited = (model.rows, model.residuals)
            model._condition()
        except (KeyError, ValueError):
            raise InvalidInputError(f"cost model {path}: accepted is what `save` wrote") from None
        return model

    def _standard(self, rows: np.ndarray) -> np.ndarray:
        return (rows - self.rows.mean(0)) / np.maximum(self.rows.std(0), 1e-3)

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
            process.fit(self._standard(self.rows)[chosen], self.residuals[chosen])
        self.theta, self.searched = process.kernel_.theta, len(self.rows)

    def _condition(self) -> None:
        """The process that has seen the samples."""
        if len(self.rows):
            self.process = self._process(optimizer=None).fit(self._standard(self.rows), self.residuals)
        else:
            self.process = None
