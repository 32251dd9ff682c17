"""Whether two implementations of a network compute the same, and how often they are right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from espalier.core.errors import InvalidInputError

FLOAT32_TOLERANCE = 1e-3

Batch = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Agreement:
    """How far one network's first output is from another's.

    max_difference: largest absolute difference; largest: largest absolute value of the reference.
    same_class: share of rows whose largest value is at the same place.
    """

    max_difference: float
    largest: float
    same_class: float

    @staticmethod
    def of(output: np.ndarray, reference: np.ndarray) -> Agreement:
        """Compare two outputs; InvalidInputError if their shapes differ."""
        if output.shape != reference.shape:
            raise InvalidInputError(f"outputs: one is {list(output.shape)}, the other {list(reference.shape)}")
        difference = np.abs(output.astype(np.float64) - reference)
        return Agreement(
            float(difference.max(initial=0.0)),
            float(np.abs(reference).max(initial=0.0)),
            float(np.mean(_classes(output) == _classes(reference))),
        )

    @property
    def within_float32(self) -> bool:
        """Whether the difference is what another order of float32 additions can cause."""
        return self.max_difference <= FLOAT32_TOLERANCE * max(self.largest, 1.0)


def first_outputs(
    run: Callable[[Batch], Sequence[np.ndarray]],
    batches: Sequence[Batch],
    after_batch: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """The first output of `run` on every batch, joined along the first axis."""
    outputs = []
    for batch in batches:
        outputs.append(np.array(run(batch)[0]))
        after_batch()
    return np.concatenate([np.atleast_1d(output) for output in outputs])


def top1(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose largest value is at the label; InvalidInputError if the numbers of rows differ."""
    classes = _classes(outputs)
    if classes.shape != labels.shape:
        raise InvalidInputError(f"labels: got {list(labels.shape)}, accepted is {list(classes.shape)}, one per input")
    return float(np.mean(classes == labels))


def _classes(outputs: np.ndarray) -> np.ndarray:
    return outputs.reshape(len(outputs), -1).argmax(axis=1)
