"""A new device from about ten measurements, by what is known of other devices.

The logarithm of a new device's seconds is a Gaussian process over what other devices' models predict for the same
option, and over the option's own features: a linear and a Matern kernel (smoothness 5/2) of the former, a Matern kernel
of the latter, noise, and a wide constant. Ten points do not tell the kernels' numbers, so these come from the known
devices: each plays the new one in turn, with the others to predict it, and the sum of the log likelihoods is largest.
The task: Lee et al., Hardware-adaptive Efficient Latency Prediction for NAS via Meta-Learning (HELP), NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from espalier.core.choices import Option, Task
from espalier.core.errors import InvalidInputError
from espalier.core.files import read_arrays

from .features import CONVOLUTIONS
from .gaussian_process import ResidualProcess
from .interface import FORMAT, CostModel, Features, Prediction, Sample, check_header
from .process import scales

LIKELIHOOD_POINTS = 60
"""Of each known device, that the kernels' numbers are searched on."""

WIDE = 10.0
"""Variance of the constant, in the units of the known devices' variance."""

THETA = np.log([0.3, 0.1, 1.0, 0.1, 1.0, 1e-2])
"""Variance of the linear kernel; variance and length of the Matern kernel of predictions, and of that of features;
noise variance. Lengths are in root mean square differences of standardised columns."""

RANGE = (-9.0, 3.0)
"""Of the logarithms above."""


class TransferredProcess(CostModel):
    """A model of a new device.

    sources: models of the known devices, two at least. theta: logarithms of the kernels' numbers. scale: typical
    deviation of the known devices' logarithms of seconds. moments: mean and deviation [2, sources + features] of the
    columns. All but the measurements of the new device comes from `learned`.
    """

    name, suffix = "transfer", ".npz"

    def __init__(self, sources: Sequence[ResidualProcess], theta: np.ndarray, scale: float, moments: np.ndarray):
        if len(sources) < 2:
            raise InvalidInputError(f"cost model transfer: got {len(sources)} known devices, accepted are 2 or more")
        self.sources, self.theta, self.scale, self.moments = tuple(sources), theta, scale, moments
        self.columns, self.values, self.mean = np.zeros((0, moments.shape[1])), np.zeros(0), 0.0

    @classmethod
    def learned(
        cls, known: Mapping[str, Sequence[Sample]], features: Features = CONVOLUTIONS, seed: int = 0
    ) -> TransferredProcess:
        """From measurements of known devices, by their names; seed: of the points that the numbers are searched on."""
        sources = []
        for samples in known.values():
            sources.append(ResidualProcess(features))
            sources[-1].fit(samples)
        columns = [_columns(sources, features, samples) for samples in known.values()]
        values = [np.log([one.seconds for one in samples]) for samples in known.values()]
        every = np.concatenate(columns) if columns else np.ones((1, 1))
        moments = np.stack([every.mean(0), scales(every)])
        model = cls(sources, THETA, float(np.mean([one.std() for one in values])), moments)
        model._search(columns, values, np.random.default_rng(seed))
        return model

    @property
    def features(self) -> Features:
        """What the models see of a choice."""
        return self.sources[0].features

    def fit(self, samples: Sequence[Sample]) -> None:
        self.mean = float(np.mean([np.log(one.seconds) for one in samples])) if samples else 0.0
        self.values = np.array([np.log(one.seconds) - self.mean for one in samples]) / self.scale
        self.columns = self._standard(_columns(self.sources, self.features, samples))

    def predict(self, task: Task, options: Sequence[Option]) -> Prediction:
        asked = self._standard(_columns(self.sources, self.features, [Sample(task, one, 1.0) for one in options]))
        prior, mean = self._covariance(asked, asked), self.mean
        if not len(self.values):
            means = np.mean([one.predict(task, options).log_seconds for one in self.sources], axis=0)
            return Prediction(means, self.scale**2 * prior)
        seen = self._covariance(self.columns, self.columns) + np.exp(self.theta[-1]) * np.eye(len(self.values))
        gains = np.linalg.solve(seen, self._covariance(self.columns, asked)).T
        covariance = prior - gains @ self._covariance(self.columns, asked)
        return Prediction(mean + self.scale * (gains @ self.values), self.scale**2 * (covariance + covariance.T) / 2)

    def save(self, path: Path) -> None:
        header = {"format": FORMAT, "model": self.name, "features": "\n".join(self.features.names)}
        own = {"theta": self.theta, "moments": self.moments, "columns": self.columns, "values": self.values}
        numbers = {"scale": self.scale, "mean": self.mean, "sources": len(self.sources)}
        parts = {f"{n}/{key}": one for n, model in enumerate(self.sources) for key, one in model.arrays().items()}
        with open(path, "wb") as file:
            np.savez(file, **header, **own, **numbers, **parts)

    @classmethod
    def load(cls, path: Path, features: Features = CONVOLUTIONS) -> TransferredProcess:
        stored = read_arrays(path, "cost model")
        header = {name: one.item() for name, one in stored.items() if one.ndim == 0}
        check_header(path, header, {"model": cls.name, "features": "\n".join(features.names)})
        try:
            parts = [_under(f"{number}/", stored) for number in range(header["sources"])]
            sources = [ResidualProcess.of_arrays(part, features) for part in parts]
            model = cls(sources, stored["theta"], header["scale"], stored["moments"])
            model.columns, model.values, model.mean = stored["columns"], stored["values"], header["mean"]
        except (KeyError, ValueError, TypeError):
            raise InvalidInputError(f"cost model {path}: accepted is what `save` wrote") from None
        return model

    def _standard(self, columns: np.ndarray) -> np.ndarray:
        return (columns - self.moments[0]) / self.moments[1]

    def _covariance(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return _covariance(self.theta, one, other, len(self.sources))

    def _search(self, columns: list[np.ndarray], values: list[np.ndarray], random: np.random.Generator) -> None:
        """The kernels' numbers under which the known devices are likeliest, each by the others."""
        from scipy.optimize import minimize

        tasks = []
        for number, (rows, logs) in enumerate(zip(columns, values)):
            chosen = random.permutation(len(rows))[:LIKELIHOOD_POINTS]
            kept = np.delete(self._standard(rows[chosen]), number, axis=1)
            tasks.append((kept, (logs[chosen] - logs[chosen].mean()) / self.scale))
        arguments = (tasks, len(columns) - 1)
        found = minimize(_unlikelihood, self.theta, arguments, "L-BFGS-B", bounds=[RANGE] * len(self.theta))
        self.theta = found.x


def _columns(sources: Sequence[ResidualProcess], features: Features, samples: Sequence[Sample]) -> np.ndarray:
    """[N, sources + features]: what the known devices' models say, then the features."""
    if not samples:
        return np.zeros((0, len(sources) + len(features.names)))
    by_task: dict[Task, list[int]] = {}
    for number, sample in enumerate(samples):
        by_task.setdefault(sample.task, []).append(number)
    columns = np.zeros((len(samples), len(sources) + len(features.names)))
    for task, numbers in by_task.items():
        options = [samples[number].option for number in numbers]
        predicted = [one.predict(task, options).log_seconds for one in sources]
        columns[numbers] = np.column_stack([*predicted, features.rows(task, options)])
    return columns


def _unlikelihood(theta: np.ndarray, tasks: list[tuple[np.ndarray, np.ndarray]], sources: int) -> float:
    """Minus the log likelihood of the devices, but for constants: Rasmussen and Williams, 2006, equation 2.30."""
    total = 0.0
    for columns, values in tasks:
        covariance = _covariance(theta, columns, columns, sources) + np.exp(theta[-1]) * np.eye(len(values))
        root = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(values)))
        whitened = np.linalg.solve(root, values)
        total += 0.5 * whitened @ whitened + np.log(np.diagonal(root)).sum()
    return float(total)


def _covariance(theta: np.ndarray, one: np.ndarray, other: np.ndarray, sources: int) -> np.ndarray:
    """Without the noise; see THETA."""
    linear, near, length, own, own_length, _ = np.exp(theta)
    predicted = one[:, :sources], other[:, :sources]
    told = linear * predicted[0] @ predicted[1].T / sources + near * _matern(*predicted, length)
    return WIDE + told + own * _matern(one[:, sources:], other[:, sources:], own_length)


def _matern(one: np.ndarray, other: np.ndarray, length: float) -> np.ndarray:
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    scaled = np.sqrt(5 * np.maximum(squares, 0) / one.shape[1]) / length
    return (1 + scaled + scaled**2 / 3) * np.exp(-scaled)


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): one for name, one in arrays.items() if name.startswith(prefix)}
