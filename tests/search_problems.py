"""A small problem with a known front, slow if it is asked to be, for searches in this process and in others."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from espalier.core.choice_space import ChoiceSpace
from espalier.core.errors import InfeasibleDesignError
from espalier.tuning.budget import Budget
from espalier.tuning.nas.problem import OBJECTIVES, Limit, Problem, Value
from espalier.tuning.nas.study import Search

SPACE = ChoiceSpace({"width": tuple(range(8)), "depth": tuple(range(4)), "format": ("small", "large")})


def values_of(point) -> dict[str, Value]:
    """Wider, deeper and larger is better and slower; format "large" is never worth it."""
    size = point["width"] + 2 * point["depth"]
    accuracy = 0.5 + 0.03 * size
    latency = 1e-3 * (1 + size + (5 if point["format"] == "large" else 0))
    return {"accuracy": Value(accuracy, "formula"), "latency": Value(latency, "formula")}


def problem(*limits: str, delay_s: float = 0.0, space: ChoiceSpace = SPACE) -> Problem:
    """Points of width 7 cannot be built."""

    def evaluate(point):
        time.sleep(delay_s)
        if point["width"] == 7:
            raise InfeasibleDesignError("width 7: accepted are 0 to 6")
        return values_of(point)

    return Problem(
        space,
        (OBJECTIVES["accuracy"], OBJECTIVES["latency"]),
        evaluate,
        tuple(map(Limit.parse, limits)),
        None,
        {"of": 1},
    )


@dataclass(frozen=True)
class Divided:
    """The same, of which a worker may find the accuracy; the first one that is asked for a point of depth 3 dies.

    folder: in which it leaves a file before; where there is a file "doomed", all die, whatever they are asked.
    """

    folder: Path

    def away(self, point) -> dict[str, Value]:
        if (self.folder / "doomed").exists() or (point["depth"] == 3 and not (self.folder / "died").exists()):
            (self.folder / "died").touch()
            os._exit(1)
        if point["width"] == 7:
            raise InfeasibleDesignError("width 7: accepted are 0 to 6")
        return {"accuracy": Value(values_of(point)["accuracy"].number, f"process {os.getpid()}")}

    def here(self, point) -> dict[str, Value]:
        return {"latency": Value(values_of(point)["latency"].number, f"process {os.getpid()}")}


if __name__ == "__main__":
    Search(problem(delay_s=0.05), sys.argv[1], "random", int(sys.argv[2])).run(Budget(trials=int(sys.argv[3])))
