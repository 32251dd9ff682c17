"""What kernels take where they run in networks: as measured there, as measured alone, or as predicted.

The first of these that knows a kernel answers. Alone a kernel finds its image and its code in the nearest caches; what
a network adds is learned from the kernels that were measured both ways, and the model of kernels from all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from espalier.core.choices import Choice, Option, Task
from espalier.core.errors import InvalidInputError

from .cost_model.features import KERNELS_IN_NETWORKS
from .cost_model.gaussian_process import ResidualProcess
from .cost_model.interface import Sample
from .network_work import Kernel


class KernelLatencies:
    """Seconds of kernels in networks on one target."""

    def __init__(self) -> None:
        self.model, self.context = (ResidualProcess(KERNELS_IN_NETWORKS) for _ in range(2))
        self._known: dict[tuple[Task, Choice], tuple[float, float]] = {}  # seconds, deviation of the logarithm
        self._predictions: dict[tuple[Task, Choice], tuple[float, float]] = {}

    def fit(self, in_networks: Sequence[Sample], alone: Sequence[Sample] = ()) -> None:
        """Learn from distinct kernels alone, and forget earlier calls.

        in_networks, alone: kernels measured where they run, and by themselves. Raises InvalidInputError if there are
        some of the second and none is in both.
        """
        self._known = {(one.task, one.option.choice): (one.seconds, 0.0) for one in in_networks}
        self._predictions, self.context, there = {}, ResidualProcess(KERNELS_IN_NETWORKS), []
        if alone:
            self._learn_context(alone)
            there = [self._moved(one) for one in alone if (one.task, one.option.choice) not in self._known]
        self.model.fit([*(sample for sample, _ in there), *in_networks])
        self._known |= {(one.task, one.option.choice): (one.seconds, deviation) for one, deviation in there}

    def predict(self, kernels: Iterable[Kernel]) -> np.ndarray:
        """Seconds, and the standard deviation of their logarithm [kernels, 2]."""
        found = [self._known.get((one.task, one.option.choice)) or self._predicted(one) for one in kernels]
        return np.array(found).reshape(-1, 2)

    def knows(self, kernel: Kernel) -> bool:
        """Whether it was measured, in a network or alone."""
        return (kernel.task, kernel.option.choice) in self._known

    def arrays(self) -> dict[str, np.ndarray]:
        """What it has learned."""
        keys = [f"{task.text}\n{choice}" for task, choice in self._known]
        known = {"known": np.array(keys, dtype=str), "known_seconds": np.array(list(self._known.values()))}
        return {**known, **{f"model/{name}": one for name, one in self.model.arrays().items()}}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> KernelLatencies:
        """What answers as the one with these `arrays()`; KeyError, ValueError or InvalidInputError for others."""
        found = cls()
        parts = {name.removeprefix("model/"): one for name, one in arrays.items() if name.startswith("model/")}
        found.model = ResidualProcess.of_arrays(parts, KERNELS_IN_NETWORKS)
        for key, (seconds, deviation) in zip(arrays["known"].tolist(), arrays["known_seconds"].tolist()):
            task, choice = key.split("\n")
            found._known[Task.parse(task), Choice.parse(choice)] = seconds, deviation
        return found

    def _learn_context(self, alone: Sequence[Sample]) -> None:
        """A process on what a network makes of the time alone, which takes the place of the rule's cycles."""
        both = [one for one in alone if (one.task, one.option.choice) in self._known]
        if not both:
            raise InvalidInputError(
                f"latency predictor: none of {len(alone)} single kernels is in a measured network; measure theirs, too"
            )
        self.context.fit([Sample(one.task, _timed(one), self._known[one.task, one.option.choice][0]) for one in both])

    def _moved(self, one: Sample) -> tuple[Sample, float]:
        """A kernel that was measured alone, with its time in a network, and the deviation of that."""
        found = self.context.predict(one.task, [_timed(one)])
        return Sample(one.task, one.option, float(np.exp(found.log_seconds[0]))), float(found.deviation[0])

    def _predicted(self, kernel: Kernel) -> tuple[float, float]:
        """By the model, once for each kernel."""
        key = kernel.task, kernel.option.choice
        if key not in self._predictions:
            found = self.model.predict(kernel.task, [kernel.option])
            self._predictions[key] = float(np.exp(found.log_seconds[0])), float(found.deviation[0])
        return self._predictions[key]


def _timed(one: Sample) -> Option:
    return Option(one.option.choice, one.seconds)
