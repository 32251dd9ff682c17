"""Reading a study from its folder, and choosing among its points, without running anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espalier.core.architecture import SPACES
from espalier.core.choice_space import ChoiceSpace
from espalier.core.errors import InvalidInputError

from .built_front import RESULT, Built, read_front
from .joint_space import choices_of
from .problem import OBJECTIVES, Limit, Objective, Problem
from .samplers import require_optuna
from .study import FILE, NAME, Evaluated, evaluated, opened, study_name
from .study import VERSION as STUDY_VERSION


@dataclass(frozen=True)
class Finished:
    """A study on disk. front: what `build_front` wrote, empty before it did; options: of its command line."""

    facts: dict
    objectives: tuple[Objective, ...]
    points: list[Evaluated]
    front: list[Built]
    options: tuple[str, ...] = ()


def read_study(folder: Path, storage: str | None = None) -> Finished:
    """A study without running anything. storage: the URL that the search was given, if any.

    Raises InvalidInputError for a folder that holds none, or one of another version.
    """
    optuna = require_optuna()
    if not storage and not (folder / FILE).is_file():
        _refuse_several(folder, [one.parent for one in sorted(folder.glob(f"*/{FILE}"))])
        raise InvalidInputError(
            f"study {folder}: it has no {FILE}, accepted is a folder that `espalier search` wrote, or its --storage"
        )
    place = opened(storage or folder)
    names = {one.study_name for one in optuna.get_all_study_summaries(place, include_best_trial=False)}
    accepted = (study_name(folder), study_name(folder, is_of_several=True)) if storage else (NAME,)
    name = next((one for one in accepted if one in names), None)
    if name is None:
        begin = f"{accepted[0]}/"
        _refuse_several(folder, [folder / one.removeprefix(begin) for one in sorted(names) if one.startswith(begin)])
        raise InvalidInputError(f"study {folder}: {'the storage' if storage else f'its {FILE}'} holds others only")
    study = optuna.load_study(study_name=name, storage=place)
    noted = study.user_attrs.get("espalier", {})
    if noted.get("version") != STUDY_VERSION:
        raise InvalidInputError(f"study {folder}: of another version, accepted is {STUDY_VERSION}; search again")
    objectives = tuple(OBJECTIVES[name] for name in noted["objectives"])
    limits = tuple(map(Limit.parse, noted["limits"]))
    problem = Problem(_choices(noted), objectives, lambda point: {}, limits)
    return Finished(noted, objectives, evaluated(study, problem), *read_front(folder / RESULT))


def _refuse_several(folder: Path, studies: Sequence[Path]) -> None:
    """Raise InvalidInputError where a folder has studies of several targets in it."""
    if studies:
        raise InvalidInputError(
            f"study {folder}: there is one for each of several targets, accepted are {', '.join(map(str, studies))}"
        )


def _choices(noted: Mapping) -> ChoiceSpace:
    """Of what a study has noted."""
    choices, architectures = ChoiceSpace.parse(noted["space"]), SPACES.get(noted["facts"].get("space"))
    return choices_of(architectures, choices.dimensions) if architectures else choices


def query(
    finished: Finished, limits: Sequence[Limit], objective: Objective, is_maximized: bool = False
) -> Evaluated | Built:
    """Of a finished study's front, or of all points where it was not built, what has least of the objective (or most)
    within the limits.

    Measured values count where there are any; what lacks a value that is asked for is left out. Raises
    InvalidInputError if all lack one, and, with the nearest point, if none is within the limits.
    """
    rows = [(one, {**one.point.values, **one.measured}) for one in finished.front]
    rows = rows or [(one, one.values) for one in finished.points]
    if not rows:
        raise InvalidInputError("study: nothing was evaluated yet, accepted is one with results; search first")
    needed = list(dict.fromkeys([objective.name, *(limit.objective.name for limit in limits)]))
    known = dict.fromkeys(name for _, values in rows for name in values)
    rows = [row for row in rows if row[1].keys() >= set(needed)]
    if not rows:
        missing = [name for name in needed if name not in known] or needed
        raise InvalidInputError(f"study: {' with '.join(missing)} was not evaluated, accepted are {', '.join(known)}")

    def broken(values) -> float:
        return max([0.0, *(limit.violation(values[limit.objective.name].number) for limit in limits)])

    within = [row for row in rows if broken(row[1]) == 0]
    if not within:
        nearest, values = min(rows, key=lambda row: broken(row[1]))
        shown = ", ".join(f"{name} {OBJECTIVES[name].shown(one.number)}" for name, one in values.items())
        text = (nearest.point if isinstance(nearest, Built) else nearest).text
        asked = ", ".join(map(str, limits))
        raise InvalidInputError(f"study: no point is within {asked}; the nearest has {shown}: {text}")
    sign = -1 if is_maximized else 1
    return min(within, key=lambda row: sign * row[1][objective.name].number)[0]
