"""How long a network will take, without compiling it.

The sum of its convolutions' kernels, measured or predicted (see `kernel_latencies`), and of everything else at so many
seconds a call, a value and a multiply-accumulate: gates, changes of layout, margins, dense layers, pooling, adds.
Fusion is in the network's description already. What these sums get wrong systematically, a process learns from whole
networks. It says how sure the answer is, and so do the kernels' times: those that nobody measured are less certain.
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

from .cost_model.interface import FORMAT, Sample, check_header
from .cost_model.process import MaternProcess
from .kernel_latencies import KernelLatencies
from .network_work import AMOUNTS, NetworkWork

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
        self.kernels, self.correction = KernelLatencies(), MaternProcess()
        self.rates = np.zeros(len(AMOUNTS) + 1)  # seconds for one of each amount; the last one's of a whole run

    def fit(self, samples: Sequence[NetworkSample], table: Sequence[Sample] = ()) -> None:
        """Learn from measured networks, and from a table of single kernels (`measure_kernels`), alone.

        Raises InvalidInputError for fewer than LEAST_NETWORKS, or a table of other networks' kernels.
        """
        from scipy.optimize import nnls

        if len(samples) < LEAST_NETWORKS:
            raise InvalidInputError(
                f"latency predictor: got {len(samples)} networks, accepted are {LEAST_NETWORKS} or more"
            )
        self.kernels.fit(_distinct_kernels(samples), table)
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
        answers = []
        for work in works:
            row = self._row(work)
            mean, covariance = self.correction.predict(row[None])
            deviation = math.sqrt(max(0.0, covariance[0, 0]) + self._kernel_variance(work, row))
            answers.append(PredictedLatency(float(np.exp(row[0] + mean[0])), deviation))
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
            model.kernels, model.rates = KernelLatencies.of_arrays(parts), stored["rates"]
            model.correction = MaternProcess(stored["theta"])
            model.correction.rows, model.correction.values = stored["rows"], stored["values"]
            model.correction.condition()
        except (KeyError, ValueError):
            raise InvalidInputError(f"latency predictor {path}: accepted is what `save` wrote") from None
        return model

    def _kernel_variance(self, work: NetworkWork, row: np.ndarray) -> float:
        """Of the logarithm of the sum, by its kernels. A network's kernels are alike, and so are their errors."""
        seconds, deviations = self.kernels.predict(work.kernels).T
        return float(seconds @ deviations / math.exp(row[0])) ** 2

    def _row(self, work: NetworkWork) -> np.ndarray:
        """What the correction sees: the logarithm of the sum, shares of its parts, and logarithms of amounts."""
        kernels_s = self.kernels.predict(work.kernels)[:, 0].sum()
        parts = np.array([kernels_s, *(_amounts(work) * self.rates)])
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
    return "\n".join([*AMOUNTS, *model.kernels.model.features.names])
