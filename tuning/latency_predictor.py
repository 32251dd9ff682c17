"""How long a network will take, without compiling it.

The sum of its convolutions' kernels as the per-layer model predicts them (a Gaussian process on what the analytic rule
gets wrong), and of everything else at so many seconds a call, a value and a multiply-accumulate: gates, changes of
layout, margins, dense layers, pooling, adds. Fusion is in the network's description already. What these sums get wrong
systematically, a second process learns from whole networks; it also says how sure the answer is.
Sums of layers and what they miss: Zhang et al., nn-Meter, MobiSys 2021 (section 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espalier.core.artifact import Artifact
from espalier.core.choices import Option, Task
from espalier.core.errors import InvalidInputError
from espalier.core.files import read_arrays
from espalier.measure.kernel_times import kernel_seconds

from .cost_model.gaussian_process import ResidualProcess
from .cost_model.interface import FORMAT, Sample, check_header
from .cost_model.process import MaternProcess
from .network_work import AMOUNTS, Kernel, NetworkWork

LEAST_NETWORKS = 8
"""To fit on."""

GATE = "gate_"
"""What the names of gates' kernels begin with."""


@dataclass(frozen=True)
class NetworkSample:
    """A measured network. seconds: of a run. kernel_seconds: of each of `work.kernels`."""

    work: NetworkWork
    seconds: float
    kernel_seconds: tuple[float, ...]

    @staticmethod
    def measured(work: NetworkWork, artifact: Artifact, *args, blocks: int = 12) -> NetworkSample:
        """Time an artifact of this work on the given inputs; see `kernel_seconds`."""
        found, by_layer = kernel_seconds(artifact, *args, blocks=blocks), {}
        for name, seconds in found.kernels.items():
            if not name.startswith(GATE):
                layer = artifact.program.kernel_layers[name]
                by_layer[layer] = by_layer.get(layer, 0.0) + seconds
        return NetworkSample(work, found.run_s, tuple(by_layer.get(one.layer, 0.0) for one in work.kernels))


@dataclass(frozen=True)
class PredictedLatency:
    """Of a network. seconds: the median. deviation: standard deviation of its natural logarithm."""

    seconds: float
    deviation: float


class LatencyPredictor:
    """Of networks on one target with as many threads as were measured."""

    def __init__(self) -> None:
        self.kernels, self.correction = ResidualProcess(), MaternProcess()
        self.rates = np.zeros(len(AMOUNTS) + 1)  # seconds for one of each amount; the last one's of a whole run
        self._known: dict[tuple[Task, Option], float] = {}

    def fit(self, samples: Sequence[NetworkSample]) -> None:
        """Learn from measured networks alone; InvalidInputError for fewer than LEAST_NETWORKS."""
        from scipy.optimize import nnls

        if len(samples) < LEAST_NETWORKS:
            raise InvalidInputError(
                f"latency predictor: got {len(samples)} networks, accepted are {LEAST_NETWORKS} or more"
            )
        self._known = {}
        self.kernels.fit(_distinct_kernels(samples))
        measured = np.array([one.seconds for one in samples])
        kernels = np.array([sum(one.kernel_seconds) for one in samples])
        amounts = np.array([_amounts(one.work) for one in samples])
        units = amounts.max(axis=0) + 1e-30
        rates, _ = nnls(amounts / units / measured[:, None], np.maximum(measured - kernels, 0) / measured)
        self.rates = rates / units
        rows = np.array([self._row(one.work) for one in samples])
        self.correction.fit(rows, np.log(measured) - rows[:, 0])

    def predict(self, work: NetworkWork) -> PredictedLatency:
        """Of one network."""
        return self.predict_all([work])[0]

    def predict_all(self, works: Sequence[NetworkWork]) -> list[PredictedLatency]:
        """Of many; InvalidInputError before `fit` or `load`."""
        if self.correction.process is None:
            raise InvalidInputError("latency predictor: nothing was learned yet, fit or load it first")
        self._predict_kernels([kernel for work in works for kernel in work.kernels])
        rows = np.array([self._row(work) for work in works]).reshape(len(works), -1)
        answers = []
        for row in rows:
            mean, covariance = self.correction.predict(row[None])
            answers.append(PredictedLatency(float(np.exp(row[0] + mean[0])), math.sqrt(max(0.0, covariance[0, 0]))))
        return answers

    def sum_of(self, sample: NetworkSample) -> float:
        """Seconds of a network by the measured times of its kernels, and of all else at the rates that were learned."""
        return sum(sample.kernel_seconds) + float(_amounts(sample.work) @ self.rates)

    def save(self, path: Path) -> None:
        """Write arrays (.npz)."""
        header = {"format": FORMAT, "model": "latency", "features": _columns(self)}
        parts = {f"kernels/{name}": one for name, one in self.kernels.arrays().items()}
        one = self.correction
        own = {"rates": self.rates, "rows": one.rows, "values": one.values, "theta": one.theta}
        with open(path, "wb") as file:
            np.savez(file, **header, **own, **parts)

    @classmethod
    def load(cls, path: Path) -> LatencyPredictor:
        """What `save` wrote; InvalidInputError for anything else, such as another version's file."""
        stored, model = read_arrays(path, "latency predictor"), cls()
        header = {name: one.item() for name, one in stored.items() if one.ndim == 0}
        check_header(path, header, {"model": "latency", "features": _columns(model)})
        parts = {name.removeprefix("kernels/"): one for name, one in stored.items() if name.startswith("kernels/")}
        try:
            model.kernels, model.rates = ResidualProcess.of_arrays(parts), stored["rates"]
            model.correction = MaternProcess(stored["theta"])
            model.correction.rows, model.correction.values = stored["rows"], stored["values"]
            model.correction.condition()
        except (KeyError, ValueError):
            raise InvalidInputError(f"latency predictor {path}: accepted is what `save` wrote") from None
        return model

    def _kernels_s(self, work: NetworkWork) -> float:
        self._predict_kernels(work.kernels)
        return sum(self._known[one.task, one.option] for one in work.kernels)

    def _predict_kernels(self, kernels: Sequence[Kernel]) -> None:
        """Ask the per-layer model once for each kernel that was not asked for before, a task at a time."""
        unknown: dict[Task, list[Option]] = {}
        for one in kernels:
            if (one.task, one.option) not in self._known:
                unknown.setdefault(one.task, []).append(one.option)
        for task, options in unknown.items():
            predicted = np.exp(self.kernels.predict(task, options).log_seconds)
            self._known.update({(task, option): float(one) for option, one in zip(options, predicted)})

    def _row(self, work: NetworkWork) -> np.ndarray:
        """What the correction sees: the logarithm of the sum, shares of its parts, and logarithms of amounts."""
        parts = np.array([self._kernels_s(work), *(_amounts(work) * self.rates)])
        total = parts.sum()
        return np.array([np.log(total), *(parts / total), *np.log1p(_amounts(work)), np.log(len(work.kernels) + 1)])


def _amounts(work: NetworkWork) -> np.ndarray:
    return np.array([*(work.amounts[name] for name in AMOUNTS), 1.0])


def _distinct_kernels(samples: Sequence[NetworkSample]) -> list[Sample]:
    """Each kernel once, with the median of its times."""
    times: dict[tuple[Task, Option], list[float]] = {}
    for sample in samples:
        for kernel, seconds in zip(sample.work.kernels, sample.kernel_seconds):
            if seconds > 0:
                times.setdefault((kernel.task, kernel.option), []).append(seconds)
    return [Sample(task, option, float(np.median(found))) for (task, option), found in times.items()]


def _columns(model: LatencyPredictor) -> str:
    return "\n".join([*AMOUNTS, *model.kernels.features.names])
