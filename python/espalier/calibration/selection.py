"""Ways to choose the channels that a gate keeps: the calibrated one and the controls it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from espalier.core.calibration import Gate

from .fit import fit_predictor


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of a layer when its choice is fitted.

    features: [S, C_in], ss(x) of the layer's input; target: [S, C_out], each channel's contribution;
    weight: [C_out, ...], the layer's own weights.
    """

    features: np.ndarray
    target: np.ndarray
    weight: np.ndarray


class Selection(Protocol):
    """How the channels of every gate are chosen. label: how a report calls it."""

    label: str

    def importance(self, contribution: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """[C_out]: by what the layer's channels are put in order before they are grouped.

        contribution: [C_out], mean over samples; weight: [C_out, ...].
        """

    def fit(self, evidence: Evidence) -> Gate | None:
        """The gate that makes this choice; None if the choice is drawn anew for every sample, as no gate can."""


class _ByContribution:
    """Channels in order of their mean contribution."""

    def importance(self, contribution: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The contribution itself."""
        return contribution


@dataclass(frozen=True)
class Predicted(_ByContribution):
    """The calibrated choice: a predictor of each channel's contribution from the layer's input."""

    ridge: float = 1.0

    @property
    def label(self) -> str:
        return f"ridge {self.ridge:g}"

    def fit(self, evidence: Evidence) -> Gate:
        """Ridge regression of the target on the features."""
        return Gate(*fit_predictor(evidence.features, evidence.target, self.ridge))


@dataclass(frozen=True)
class StaticMagnitude:
    """The same channels for every input: those whose own weights have the largest L1 norm."""

    label: str = "static-magnitude"

    def importance(self, contribution: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The norms."""
        return np.abs(weight).sum(tuple(range(1, weight.ndim)))

    def fit(self, evidence: Evidence) -> Gate:
        """phi = 0, rho = the norms."""
        return _static_gate(evidence, self.importance(evidence.target.mean(0), evidence.weight))


@dataclass(frozen=True)
class StaticContribution(_ByContribution):
    """The same channels for every input: those with the largest mean contribution."""

    label: str = "static-contribution"

    def fit(self, evidence: Evidence) -> Gate:
        """phi = 0, rho = the mean target."""
        return _static_gate(evidence, evidence.target.mean(0))


@dataclass(frozen=True)
class Random(_ByContribution):
    """Channels drawn for every sample."""

    label: str = "random"

    def fit(self, evidence: Evidence) -> None:
        """No gate draws."""
        return


def saliency(gate: Gate | None, features: np.ndarray, channels: int, random: np.random.Generator) -> np.ndarray:
    """float32 [S, C_out]: relu(features phi + rho), or random numbers where there is no gate."""
    if gate is None:
        return random.random((len(features), channels), np.float32)
    return np.maximum(features @ gate.phi + gate.rho, 0)


def _static_gate(evidence: Evidence, scores: np.ndarray) -> Gate:
    phi = np.zeros((evidence.features.shape[1], len(scores)), np.float32)
    return Gate(phi, scores.astype(np.float32))
