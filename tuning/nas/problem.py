"""What a search is about: a space, objectives, limits, and a function that says what a point is worth."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from espalier.core.choice_space import ChoiceSpace, Point
from espalier.core.errors import InvalidInputError


@dataclass(frozen=True)
class Objective:
    """unit: of its numbers, as they are shown: `scale` of them are one of the values'. label: on a plot."""

    name: str
    is_maximized: bool
    label: str
    unit: str = ""
    scale: float = 1.0

    def loss(self, value: float) -> float:
        """Less is better."""
        return -value if self.is_maximized else value

    def shown(self, value: float) -> str:
        """With its unit."""
        return f"{value * self.scale:.4g} {self.unit}".strip()


OBJECTIVES = {
    one.name: one
    for one in (
        Objective("accuracy", True, "top-1 accuracy", "%", 100.0),
        Objective("latency", False, "latency of one run", "ms", 1e3),
        Objective("throughput", True, "images a second"),
        Objective("energy", False, "energy of one image, estimated", "uJ", 1e6),
        Objective("cycles", False, "cycles between images"),
        Objective("luts", False, "look-up tables"),
        Objective("dsps", False, "DSP blocks"),
        Objective("bram_36k", False, "blocks of RAM of 36 kbit"),
        Objective("size", False, "weights", "kB", 1e-3),
    )
}
"""By name. Values: accuracy 0 to 1, latency in seconds, energy in joules, size in bytes."""


@dataclass(frozen=True)
class Value:
    """A number and how it was obtained, in words."""

    number: float
    how: str


_LIMIT = re.compile(r"\s*(?:(\w+)\s*)?(<=|>=)\s*([\d.eE+-]+)\s*(%|[a-zA-Z]*)\s*")


@dataclass(frozen=True)
class Limit:
    """What a value must not pass; `number` in the objective's own values."""

    objective: Objective
    is_least: bool
    number: float

    @staticmethod
    def parse(text: str, name: str = "") -> Limit:
        """Of a text such as "accuracy>=90%" or "latency<=0.2ms"; without a name in it, of the objective `name`.

        Raises InvalidInputError for anything else.
        """
        found = _LIMIT.fullmatch(text)
        objective = OBJECTIVES.get((found[1] or name) if found else "")
        try:
            if objective is None or found[4] not in ("", objective.unit):
                raise ValueError
            number = float(found[3]) / objective.scale
        except ValueError:
            units = ", ".join(f"{one.name} ({one.unit})" if one.unit else one.name for one in OBJECTIVES.values())
            raise InvalidInputError(
                f"limit: got {text!r}, accepted are such as accuracy>=90% and latency<=0.2ms; of {units}"
            ) from None
        return Limit(objective, found[2] == ">=", number)

    def violation(self, value: float) -> float:
        """By how much, as a share of the limit, a value passes it; 0 or less where it holds."""
        beyond = self.number - value if self.is_least else value - self.number
        return beyond / max(abs(self.number), 1e-12)

    def __str__(self) -> str:
        sign = ">=" if self.is_least else "<="
        return f"{self.objective.name}{sign}{self.objective.shown(self.number)}".replace(" ", "")


@dataclass(frozen=True)
class Problem:
    """evaluate: the values of a point, at least those of the objectives and limits; it raises an EspalierError for a
    point that cannot be built.

    columns: what a sampler's model sees of a point, None for `space.encode`.
    facts: what else decides the values (target, supernet, ...), as JSON-able values; a study of others is refused.
    """

    space: ChoiceSpace
    objectives: tuple[Objective, ...]
    evaluate: Callable[[Point], Mapping[str, Value]]
    limits: tuple[Limit, ...] = ()
    columns: Callable[[Point], np.ndarray] | None = None
    facts: Mapping = field(default_factory=dict)

    def encode(self, point: Point) -> np.ndarray:
        """What a model sees."""
        return self.space.encode(point) if self.columns is None else self.columns(point)


def constraint_name(limit: int) -> str:
    """Of the limit of this number, in Optuna's trials."""
    return f"limit{limit}"


def objectives_of(names: Sequence[str]) -> tuple[Objective, ...]:
    """By name, each once; InvalidInputError with the names there are."""
    for name in names:
        if name not in OBJECTIVES or list(names).count(name) > 1:
            accepted = ", ".join(OBJECTIVES)
            raise InvalidInputError(f"objectives: got {', '.join(names)}, accepted are {accepted}, each once")
    if not names:
        raise InvalidInputError(f"objectives: got none, accepted are {', '.join(OBJECTIVES)}")
    return tuple(OBJECTIVES[name] for name in names)
