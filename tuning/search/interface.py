"""What every search does: propose a batch of choices of a task, and say what it hopes to gain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from espalier.core.choices import Choice, Option, Task

from ..cost_model.interface import CostModel


@dataclass(frozen=True)
class Proposal:
    """Options to measure together. gain_s: seconds by which the best of them is expected to beat the best known."""

    options: tuple[Option, ...] = ()
    gain_s: float = 0.0


class Search(ABC):
    """A way to search. name: on the command line."""

    name: str

    @abstractmethod
    def propose(
        self,
        task: Task,
        space: Sequence[Option],
        seen: Mapping[Choice, float],
        model: CostModel,
        count: int,
        random: np.random.Generator,
    ) -> Proposal:
        """At most `count` options that were not seen; none if all were.

        space: of the task, the rule's best first. seen: seconds by choice, infinite for what went wrong.
        """


def unseen(space: Sequence[Option], seen: Mapping[Choice, float]) -> list[Option]:
    """The options that were not measured yet."""
    return [option for option in space if option.choice not in seen]


def best_seconds(task: Task, space: Sequence[Option], seen: Mapping[Choice, float], model: CostModel) -> float:
    """Of the choices that were seen; before any was, what is predicted for the rule's own choice."""
    best = min(seen.values(), default=np.inf)
    return float(best if np.isfinite(best) else np.exp(model.predict(task, space[:1]).log_seconds[0]))


def hoped_gain(task: Task, space: Sequence[Option], seen: Mapping[Choice, float], options, model: CostModel) -> float:
    """By what the model says of the options, without its doubts."""
    predicted = np.exp(model.predict(task, options).log_seconds.min())
    return max(0.0, best_seconds(task, space, seen, model) - float(predicted))
