"""A search's problem whose evaluations are kept on disk, for benchmarks that ask for many fronts of one supernet."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from pathlib import Path

from espalier.core.choice_space import ChoiceSpace, Point, point_text
from espalier.core.errors import EspalierError, InvalidInputError
from espalier.core.files import write_atomically
from espalier.tuning.nas.joint_space import JointSpace
from espalier.tuning.nas.problem import Problem, Value, objectives_of
from espalier.tuning.nas.search import problem_of
from espalier.tuning.nas.study import description
from espalier.tuning.nas.supernet_networks import Split, SupernetNetworks

from . import data_folder


@dataclasses.dataclass
class Kept:
    """Values of points in a file. seconds: what each point took when it was evaluated, also those refused."""

    path: Path
    values: dict[str, dict | str] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    @staticmethod
    def read(path: Path) -> Kept:
        """What an earlier run kept, or nothing."""
        return Kept(path, **json.loads(path.read_text())) if path.is_file() else Kept(path)

    def value(self, point: Point, evaluate) -> dict[str, Value]:
        """From the file, or evaluated and kept; raises again what was raised then."""
        text = point_text(point)
        if text not in self.values:
            start = time.perf_counter()
            self.values[text] = _told(point, evaluate)
            self.seconds[text] = time.perf_counter() - start
            write_atomically(self.path, json.dumps({"values": self.values, "seconds": self.seconds}).encode())
        found = self.values[text]
        if isinstance(found, str):
            raise InvalidInputError(found)
        return {name: Value(*one) for name, one in found.items()}


def _told(point: Point, evaluate) -> dict | str:
    try:
        return {name: [one.number, one.how] for name, one in evaluate(point).items()}
    except EspalierError as error:
        return str(error)


def networks_of(space: JointSpace, supernet: Path | None) -> SupernetNetworks:
    """Of the supernet that comes with the package, or of a file, with CIFAR-10."""
    return SupernetNetworks(space.architectures, supernet, Split.of(data_folder()))


def kept_problem(space: JointSpace, networks: SupernetNetworks, objectives: str, folder: Path) -> tuple[Problem, Kept]:
    """The problem and what is kept of it in the folder; of another supernet or table of accuracies nothing is."""
    problem = problem_of(space, networks, objectives_of(objectives.split(",")), (), folder)
    asked = hashlib.sha256(json.dumps(description(problem)).encode()).hexdigest()[:12]
    kept = Kept.read(folder / f"values-{asked}.json")
    return dataclasses.replace(problem, evaluate=lambda point: kept.value(point, problem.evaluate)), kept


def narrowed(problem: Problem, fixed: Point) -> Problem:
    """The same problem where some dimensions have one value."""
    dimensions = {
        name: (fixed[name],) if name in fixed else values for name, values in problem.space.dimensions.items()
    }
    return dataclasses.replace(problem, space=ChoiceSpace(dimensions, problem.space.idle))
