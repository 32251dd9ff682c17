"""A Gaussian process on what the analytic rule gets wrong.

The prior mean is the rule, log(cycles) plus the log of a cycle's seconds; the process learns the residual, and where it
has seen nothing it says the rule's figure and a wide margin. With about a hundred samples this beats boosted trees and
processes without the rule: Ferianc et al., Improving Performance Estimation for FPGA-based Accelerators for
Convolutional Neural Networks, ARC 2020 (section 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from espalier.core.choices import Option, Task
from espalier.core.errors import InvalidInputError
from espalier.core.files import read_arrays

from .analytic import NO_CLOCK_LOG_S
from .features import CONVOLUTIONS
from .interface import FORMAT, CostModel, Features, Prediction, Sample, check_header, fitted_log_cycle_s, log_cycles
from .process import MaternProcess

MOST_POINTS = 1000
"""The latest samples; the time to fit grows with their cube."""

PRIOR_DEVIATION = 0.3
"""Of the residual before anything was measured."""


class ResidualProcess(CostModel):
    """The rule, and a Gaussian process on what it gets wrong. features: what the process sees of a choice.

    What a loaded model had learned stays when it is fitted again: its residuals come before those of the samples.
    """

    name, suffix = "gp", ".npz"

    def __init__(self, features: Features = CONVOLUTIONS) -> None:
        self.features, self.process, self.log_cycle_s = features, MaternProcess(), NO_CLOCK_LOG_S
        self.process.rows, self.process.values = self.inherited = (np.zeros((0, len(features.names))), np.zeros(0))

    def fit(self, samples: Sequence[Sample]) -> None:
        latest = samples[-MOST_POINTS:]
        self.log_cycle_s = fitted_log_cycle_s(latest) if latest else NO_CLOCK_LOG_S
        measured = np.log([one.seconds for one in latest])
        residuals = measured - log_cycles([one.option for one in latest]) - self.log_cycle_s
        rows, values = self.inherited
        rows = np.concatenate([rows, *(self.features.rows(one.task, [one.option]) for one in latest)])
        self.process.fit(rows[-MOST_POINTS:], np.concatenate([values, residuals])[-MOST_POINTS:])

    def predict(self, task: Task, options: Sequence[Option]) -> Prediction:
        mean = log_cycles(options) + self.log_cycle_s
        if self.process.process is None:
            return Prediction(mean, PRIOR_DEVIATION**2 * np.eye(len(mean)))
        residual, covariance = self.process.predict(self.features.rows(task, options))
        return Prediction(mean + residual, covariance)

    def arrays(self) -> dict[str, np.ndarray]:
        """What it has learned."""
        one = self.process
        arrays = {"rows": one.rows, "residuals": one.values, "theta": one.theta}
        return {**arrays, "log_cycle_s": np.array(self.log_cycle_s), "searched": np.array(one.searched)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], features: Features = CONVOLUTIONS) -> ResidualProcess:
        """The model with these `arrays()`; KeyError or ValueError for others."""
        model = cls(features)
        model.log_cycle_s = float(arrays["log_cycle_s"])
        model.process = MaternProcess(arrays["theta"], int(arrays["searched"]))
        model.process.rows, model.process.values = model.inherited = (arrays["rows"], arrays["residuals"])
        model.process.condition()
        return model

    def save(self, path: Path) -> None:
        header = {"format": FORMAT, "model": self.name, "features": "\n".join(self.features.names)}
        with open(path, "wb") as file:
            np.savez_compressed(file, **header, **self.arrays())

    @classmethod
    def load(cls, path: Path, features: Features = CONVOLUTIONS) -> ResidualProcess:
        stored = read_arrays(path, "cost model")
        header = {name: one.item() for name, one in stored.items() if one.ndim == 0}
        check_header(path, header, {"model": cls.name, "features": "\n".join(features.names)})
        try:
            return cls.of_arrays(stored, features)
        except (KeyError, ValueError):
            raise InvalidInputError(f"cost model {path}: accepted is what `save` wrote") from None
