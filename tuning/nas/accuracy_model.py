"""What accuracy a network will have after fine-tuning, learned from networks that were fine-tuned.

The rule: the logarithm of a network's error is linear in those of its error as part of the supernet, of its
multiply-accumulates and of its weights, and in the noise that its formats add. What this gets wrong, a Gaussian process
learns from the same numbers and the depth, width, expansion and format of each stage; it says how sure the answer is.
Errors that fall as a power of a network's size: Rosenfeld et al., A Constructive Prediction of the Generalization Error
Across Scales, ICLR 2020.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espalier.core.architecture import Architecture, work_of
from espalier.core.errors import InvalidInputError
from espalier.core.formats import parse_format

from ..cost_model.process import MaternProcess, scales
from .tuned_networks import TunedNetwork

LEAST_NETWORKS = 8
"""To fit on."""

RULE = 4
"""The first columns of a row, which the rule knows."""

RIDGE = 0.1
"""Of the rule's slopes, for columns in their standard deviations: with few networks two of them may say the same."""

SMALLEST_ERROR = 1e-3
"""Errors below it, of a thousandth of the images, count as it."""


@dataclass(frozen=True)
class PredictedAccuracy:
    """accuracy: the median. deviation: standard deviation; both as shares of the images."""

    accuracy: float
    deviation: float


class AccuracyModel:
    """Of the networks of one supernet."""

    def __init__(self) -> None:
        self.process = MaternProcess()
        self.slopes, self.centre, self.scale = np.zeros(RULE + 1), np.zeros(RULE), np.ones(RULE)

    def fit(self, networks: Sequence[TunedNetwork]) -> None:
        """Learn from these alone; InvalidInputError for fewer than LEAST_NETWORKS."""
        if len(networks) < LEAST_NETWORKS:
            raise InvalidInputError(
                f"accuracy model: got {len(networks)} fine-tuned networks, accepted are {LEAST_NETWORKS} or more"
            )
        facts = ((one.architecture, one.weights, one.supernet_accuracy) for one in networks)
        rows = np.array([_row(Architecture.parse(text), *others) for text, *others in facts])
        values = np.array([_log_error(one.accuracy) for one in networks])
        self.centre, self.scale = rows[:, :RULE].mean(0), scales(rows[:, :RULE])
        known = self._known(rows)
        penalty = RIDGE * np.diag([*np.ones(RULE), 0.0])
        self.slopes = np.linalg.solve(known.T @ known + penalty, known.T @ values)
        self.process.fit(rows, values - known @ self.slopes)

    def predict(self, architecture: Architecture, weights: Sequence[str], before: float) -> PredictedAccuracy:
        """Of a network with these formats of its stages' weights, whose accuracy as part of the supernet is `before`.

        Raises InvalidInputError before `fit`.
        """
        if self.process.process is None:
            raise InvalidInputError("accuracy model: nothing was learned yet, fit it first")
        row = _row(architecture, weights, before)[None]
        residual, variance = self.process.predict(row)
        error = math.exp(float((self._known(row) @ self.slopes)[0] + residual[0]))
        return PredictedAccuracy(max(0.0, 1 - error), error * math.sqrt(max(0.0, variance[0, 0])))

    def _known(self, rows: np.ndarray) -> np.ndarray:
        """What the rule sees, with a column of ones."""
        return np.concatenate([(rows[:, :RULE] - self.centre) / self.scale, np.ones((len(rows), 1))], 1)


def left_out(networks: Sequence[TunedNetwork]) -> list[PredictedAccuracy]:
    """Each one by a model of all other architectures: what the predictions are worth for networks never seen."""
    models: dict[str, AccuracyModel] = {}
    for text in dict.fromkeys(one.architecture for one in networks):
        models[text] = AccuracyModel()
        models[text].fit([one for one in networks if one.architecture != text])
    return [
        models[one.architecture].predict(Architecture.parse(one.architecture), one.weights, one.supernet_accuracy)
        for one in networks
    ]


def _row(architecture: Architecture, weights: Sequence[str], before: float) -> np.ndarray:
    """float64 [columns]."""
    macs, count = work_of(architecture)
    noise = [_noise(one) for one in weights]
    stages = [(one.depth, math.log(one.width), one.expansion, one.kernel) for one in architecture.stages]
    known = (_log_error(before), math.log(macs), math.log(count), sum(noise))
    return np.array([*known, *np.ravel(stages), *noise])


def _log_error(accuracy: float) -> float:
    return math.log(max(SMALLEST_ERROR, 1 - accuracy))


def _noise(weights: str) -> float:
    """The step of a format's levels, as a share of their range."""
    fmt = parse_format(weights)
    return 2.0**-fmt.bits if fmt.is_quantized else 0.0
