"""A search's problem: a space on a target, and who says what of each candidate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from espalier.core.choice_space import Point
from espalier.core.errors import InvalidInputError
from espalier.core.files import sha256_of

from .evaluators import (
    Evaluator,
    FittedAccuracy,
    FpgaModel,
    GpuModel,
    MeasuredLatency,
    OperationEnergy,
    PredictedLatency,
    SupernetAccuracy,
    WeightSize,
)
from .joint_space import JointSpace
from .problem import Limit, Objective, Problem, Value
from .supernet_networks import SupernetNetworks

LATENCIES = "latency"
"""The folder, in a study's, of the networks that the latency predictor learns from."""


def problem_of(
    space: JointSpace, networks: SupernetNetworks, objectives: tuple[Objective, ...], limits: tuple[Limit, ...],
    folder: Path | None = None, is_measured: bool = False,
) -> Problem:  # fmt: skip
    """The problem of a space on its target.

    folder: where the networks that the latency predictor learns from are kept.
    is_measured: latency is measured for every candidate, not predicted.
    Raises InvalidInputError for objectives that are not known of the target, and for limits on other values.
    """
    if networks.tuned and space.is_tabled:
        accuracy: Evaluator = FittedAccuracy(networks, networks.tuned)
    else:
        accuracy = SupernetAccuracy(networks)
    parts = (accuracy, WeightSize(networks), *_device_parts(space, networks, folder, is_measured))
    known = [name for part in parts for name in part.names]
    needed = [*objectives, *(limit.objective for limit in limits)]
    for one in needed:
        if one.name not in known:
            raise InvalidInputError(f"objective {one.name}: not known of this target, accepted are {', '.join(known)}")
    used = tuple(part for part in parts if any(one.name in part.names for one in needed))
    facts = {
        "space": space.architectures.name,
        "target": dict(space.target),
        "images": networks.split.origin,
        "supernet": sha256_of(networks.weights),
        "tuned": networks.tuned and networks.tuned.digest if space.is_tabled else None,
    }
    return Problem(space.choices, objectives, Evaluation(space, used), limits, facts=facts)


@dataclass(frozen=True)
class Evaluation:
    """The values of a point, by several evaluators; for `Problem.evaluate`, and divided for `workers`."""

    space: JointSpace
    parts: tuple[Evaluator, ...]

    def __call__(self, point: Point) -> dict[str, Value]:
        """All of them."""
        return {**self.away(point), **self.here(point)}

    def away(self, point: Point) -> dict[str, Value]:
        """Those that any machine finds."""
        return self._of(point, is_clocked=False)

    def here(self, point: Point) -> dict[str, Value]:
        """Those that this machine's clock tells."""
        return self._of(point, is_clocked=True)

    def __getstate__(self) -> dict:
        """For `away`: what has seen this machine's clock stays here."""
        return {"space": self.space, "parts": tuple(one for one in self.parts if not one.is_clocked)}

    def _of(self, point: Point, is_clocked: bool) -> dict[str, Value]:
        candidate, found = self.space.candidate(point), {}
        for part in self.parts:
            found |= part.evaluate(candidate) if part.is_clocked == is_clocked else {}
        return found


def _device_parts(
    space: JointSpace, networks: SupernetNetworks, folder: Path | None, is_measured: bool
) -> tuple[Evaluator, ...]:
    """What says how fast a candidate is on the target, and what energy it takes."""
    if space.is_fpga:
        return (FpgaModel(networks),)
    if space.is_gpu:
        return GpuModel(networks), OperationEnergy(networks)
    latency = MeasuredLatency(networks) if is_measured else PredictedLatency(networks, folder and folder / LATENCIES)
    return latency, OperationEnergy(networks)
