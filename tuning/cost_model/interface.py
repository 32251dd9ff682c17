"""What every cost model does: learn from measured choices, predict others, and outlive the process as a plain file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espalier.core.choices import Option, Task
from espalier.core.errors import InvalidInputError

FORMAT = 1
"""Of a saved model; another one is refused."""


@dataclass(frozen=True)
class Features:
    """What a learned model sees of a task's options. names: of the columns. rows: gives float64 [N, names]."""

    names: tuple[str, ...]
    rows: Callable[[Task, Sequence[Option]], np.ndarray]


@dataclass(frozen=True)
class Sample:
    """A measured choice of a task."""

    task: Task
    option: Option
    seconds: float


@dataclass(frozen=True)
class Prediction:
    """Of N choices of a task: the logarithm of seconds as a normal distribution.

    log_seconds: mean [N]. covariance [N, N]; zeros where a model does not know how sure it is.
    """

    log_seconds: np.ndarray
    covariance: np.ndarray

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation [N]."""
        return np.sqrt(np.maximum(np.diagonal(self.covariance), 0))

    def draws(self, count: int, random: np.random.Generator) -> np.ndarray:
        """[count, N] of what the logarithms of seconds may be, together."""
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))
        return self.log_seconds + random.standard_normal((count, len(root))) @ root.T

    @staticmethod
    def certain(log_seconds: np.ndarray) -> Prediction:
        """Without a word on how sure it is."""
        return Prediction(log_seconds, np.zeros((len(log_seconds),) * 2))


class CostModel(ABC):
    """A way to predict. A model that was not fitted yet predicts what it can.

    name: as in a saved file and on the command line. suffix: of its files.
    """

    name: str
    suffix: str

    @abstractmethod
    def fit(self, samples: Sequence[Sample]) -> None:
        """Learn from all these samples, and forget those of an earlier call."""

    @abstractmethod
    def predict(self, task: Task, options: Sequence[Option]) -> Prediction:
        """What the options of a task will take."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write JSON, UBJSON or arrays."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path) -> CostModel:
        """What `save` wrote; InvalidInputError for anything else, such as another version's file."""


def check_header(path: Path, header: dict, expected: dict) -> None:
    """Raise InvalidInputError unless the header of a saved model is what this version writes."""
    for key, value in {"format": FORMAT, **expected}.items():
        if header.get(key) != value:
            raise InvalidInputError(
                f"cost model {path}: {key} is {header.get(key)!r}, accepted is {value!r}; train it again"
            )


def log_cycles(options: Sequence[Option]) -> np.ndarray:
    """The logarithm [N] of the cycles that the code generator's rule predicts."""
    return np.log([option.cycles for option in options])


def fitted_log_cycle_s(samples: Sequence[Sample]) -> float:
    """The logarithm of the seconds that a predicted cycle takes: the median over samples."""
    return float(np.median([np.log(sample.seconds / sample.option.cycles) for sample in samples]))
