"""A search as an Optuna study: every evaluation is kept as soon as it is known, and any number of workers share it.

A worker that dies leaves a trial that is never finished; the others go on without it, and the same call again goes on
from what is there.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Set
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from espalier.core.choice_space import Point, point_text
from espalier.core.errors import EspalierError, InvalidInputError, ToolNotFoundError

from ..budget import Budget
from .front import front, thinned
from .problem import Limit, Objective, Problem, Value, constraint_name
from .samplers import make_sampler, require_optuna
from .workers import ThisProcess, WorkerDiedError, Workers

VERSION = 1
"""Of what a study keeps beside Optuna's own; another one is refused."""

FILE, NAME, ORIGIN = "study.db", "espalier", "origin"
FATAL = 2
"""So many workers that a point has taken along refuse it."""

REPEATS = 200
"""So many points in a row that are known already end a search: there is hardly anything new to find. So many steps
from a known point are tried to find one that is not."""

WAIT_S = 30
"""For another worker's write."""


@dataclass(frozen=True)
class Evaluated:
    """A point with its values. violation: by how much it passes the limits, 0 where it holds them."""

    number: int
    point: Point
    values: Mapping[str, Value]
    violation: float

    @property
    def text(self) -> str:
        """Its point's."""
        return point_text(self.point)


@dataclass(frozen=True)
class Progress:
    """After an evaluation. refused: why the point could not be built, else empty."""

    evaluated: int
    share: float
    last: Evaluated | None
    refused: str = ""


@dataclass(frozen=True)
class _Running:
    """An evaluation that was begun. start: in seconds of the monotonic clock."""

    trial: object
    point: Point
    start: float

    @property
    def text(self) -> str:
        return point_text(self.point)


class HasObjectives(Protocol):
    """A problem, or what is left of one on disk."""

    objectives: tuple[Objective, ...]


class Search:
    """A problem at work.

    storage: a folder, an Optuna storage URL such as "postgresql://...", or None to keep all in memory.
    name: of the study, for a storage that holds several. origin: what a study that is new remembers of who began it.
    An existing study of the same problem is continued. Raises InvalidInputError for a study of another problem or
    version, a file that is none, or a storage that cannot be reached.
    """

    def __init__(
        self, problem: Problem, storage: Path | str | None, sampler: str = "nsga2", seed: int = 0, name: str = NAME,
        origin: str = "",
    ):  # fmt: skip
        optuna = require_optuna()
        self.problem, made = problem, make_sampler(sampler, problem, seed)
        self.random = np.random.default_rng(seed)
        self.deaths: Counter[str] = Counter()
        self.study = optuna.create_study(
            storage=opened(storage),
            sampler=made,
            study_name=name,
            directions=["maximize" if one.is_maximized else "minimize" for one in problem.objectives],
            load_if_exists=True,
        )
        _check(self.study, problem, storage)
        if "espalier" not in self.study.user_attrs:
            self.study.set_user_attr(ORIGIN, origin)
            self.study.set_user_attr("espalier", description(problem))

    def run(
        self, budget: Budget, tell: Callable[[Progress], None] | None = None, workers: Workers | None = None
    ) -> str:
        """Evaluate until the budget is spent, counting what other processes and earlier calls evaluated as trials.

        workers: who evaluates, by default this process. Returns why it ended, in words.
        Raises WorkerDiedError where one of `workers` after the other does.
        """
        budget.start()
        workers = workers or ThisProcess(self.problem.evaluate)
        running: dict[Future, _Running] = {}
        repeats = 0
        while True:
            known, refused = {one.text: one for one in self.evaluated}, self.refused
            settled = {*known, *refused, *(one.text for one in running.values())}
            budget.spent_trials = len(settled)
            end = self._end(budget, len({*known, *refused}), repeats)
            if not end and len(running) < workers.count and len(settled) < self.problem.space.size:
                trial, point = self._ask(settled)
                if point_text(point) in settled:
                    self._tell_again(trial, known.get(point_text(point)))
                    repeats += 1
                else:
                    running[workers.submit(point)] = _Running(trial, point, time.monotonic())
                    repeats = 0
                continue
            if not running:
                return end
            future = next(iter(wait(running, return_when=FIRST_COMPLETED).done))
            one, repeats = running.pop(future), 0
            found, refusal = self._evaluate(one, lambda point, future=future: workers.values(point, future))
            budget.spend(0, time.monotonic() - one.start)
            (tell or (lambda _: None))(Progress(len(known) + (found is not None), budget.share_spent(), found, refusal))

    def _end(self, budget: Budget, settled: int, repeats: int) -> str:
        """Why nothing more is to be begun, empty where something is."""
        if not budget.batch_of(1):
            return "the budget is spent"
        if settled == self.problem.space.size:
            return "every point of the space is evaluated"
        return f"the sampler proposed {REPEATS} known points in a row" if repeats >= REPEATS else ""

    @property
    def evaluated(self) -> list[Evaluated]:
        """Each point once, in the order in which they were evaluated."""
        return evaluated(self.study, self.problem)

    @property
    def refused(self) -> dict[str, str]:
        """The texts of the points that could not be built, and why."""
        from .points import point_of

        failed = self.study.get_trials(deepcopy=False, states=(require_optuna().trial.TrialState.FAIL,))
        return {
            point_text(point_of(self.problem.space, one)): one.user_attrs["refused"]
            for one in failed
            if "refused" in one.user_attrs
        }

    @property
    def last_refusal(self) -> str:
        """Why the last point that could not be built could not."""
        return ["the budget is too small", *self.refused.values()][-1]

    def _ask(self, settled: Set[str]):
        """(trial, point): the sampler's next point, or one near to it if that is known already."""
        from .points import distributions, parameters_of, point_of

        space, state = self.problem.space, require_optuna().trial.TrialState
        trial = self.study.ask(distributions(space))
        point = point_of(space, trial)
        new = self._near(point, settled)
        if new is not None and new != point:
            self.study.tell(trial, state=state.FAIL)
            self.study.enqueue_trial(parameters_of(space, new))
            trial = self.study.ask(distributions(space))  # the new point's, unless another worker took it
        return trial, point_of(space, trial)

    def _near(self, point: Point, settled: Set[str]) -> Point | None:
        """The first point on a random walk from this one, which it may be, that is not known; None if there is none."""
        for _ in range(REPEATS):
            if point_text(point) not in settled:
                return point
            point = self.problem.space.mutate(point, self.random)
        return None

    def _tell_again(self, trial, known: Evaluated | None) -> None:
        """End the trial of a point that was evaluated, was refused, or is under way."""
        if known:
            self._tell(trial, known.values)
        else:
            self.study.tell(trial, state=require_optuna().trial.TrialState.FAIL)

    def _evaluate(self, one: _Running, values_of: Callable[[Point], Mapping[str, Value]]) -> tuple:
        """(Evaluated or None, why not)."""
        failed = require_optuna().trial.TrialState.FAIL
        try:
            values = values_of(one.point)
        except WorkerDiedError as error:  # which says little of the point, the first time
            self.deaths[one.text] += 1
            if self.deaths[one.text] >= FATAL:
                one.trial.set_user_attr("refused", f"{error}, {FATAL} times with this point")
            self.study.tell(one.trial, state=failed)
            if error.is_last:
                raise
            return None, str(error)
        except EspalierError as error:
            one.trial.set_user_attr("refused", str(error))
            self.study.tell(one.trial, state=failed)
            return None, str(error)
        self._tell(one.trial, values)
        return Evaluated(one.trial.number, one.point, values, violation_of(values, self.problem.limits)), ""

    def _tell(self, trial, values: Mapping[str, Value]) -> None:
        trial.set_user_attr("values", {name: [one.number, one.how] for name, one in values.items()})
        for number, limit in enumerate(self.problem.limits):
            trial.set_constraint(constraint_name(number), limit.violation(values[limit.objective.name].number))
        self.study.tell(trial, [values[one.name].number for one in self.problem.objectives])


def study_name(folder: Path, is_of_several: bool = False) -> str:
    """What a study is called in a database: as its folder is; as both folders are, where it is one of several."""
    here = folder.resolve()
    return f"{NAME} {here.parent.name}/{here.name}" if is_of_several else f"{NAME} {here.name}"


@dataclass(frozen=True)
class Begun:
    """A study that is there already. numbers: of the networks that are evaluated so far. origin: who began it."""

    numbers: frozenset[int]
    origin: str


def begun(problem: Problem, storage: Path | str, name: str = NAME) -> Begun | None:
    """The study that `Search` would go on with, None where it would make one; this makes none. Errors as of Search."""
    optuna = require_optuna()
    if not is_url(storage) and not (Path(storage) / FILE).exists():
        return None
    place = opened(storage)
    if name not in {one.study_name for one in optuna.get_all_study_summaries(place, include_best_trial=False)}:
        return None
    study = optuna.load_study(study_name=name, storage=place)
    _check(study, problem, storage)
    return Begun(frozenset(one.number for one in evaluated(study, problem)), study.user_attrs.get(ORIGIN, ""))


def opened(storage: Path | str | None):
    """What Optuna takes as a storage: SQLite in a folder, or what a URL names."""
    optuna = require_optuna()
    if storage is None:
        return None
    if is_url(storage):
        return _reached(storage)
    folder = Path(storage)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{(folder / FILE).absolute()}"
        return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": WAIT_S}})
    except OSError as error:
        raise InvalidInputError(f"study {folder}: cannot be written ({error.strerror})") from None
    except Exception as error:  # SQLAlchemy's and Optuna's, of a file that is no study or of another Optuna
        raise InvalidInputError(f"study {folder}: its {FILE} is no study of this version ({_reason(error)})") from None


def is_url(storage: Path | str | None) -> bool:
    """Whether a storage is a database elsewhere, not a folder."""
    return isinstance(storage, str) and "://" in storage


def _shown(storage: Path | str | None) -> str:
    """For errors: a URL without what may be a password, which is before "@" or after "?"."""
    if not is_url(storage):
        return str(storage)
    return storage.partition("?")[0].rpartition("@")[2].removeprefix("postgresql://")


def _reached(url: str):
    """Optuna's storage behind a URL."""
    optuna, place = require_optuna(), _shown(url)
    try:
        return optuna.storages.RDBStorage(url)
    except ImportError as error:
        raise ToolNotFoundError(
            f'storage {place}: {_reason(error)}; for PostgreSQL install: pip install "espalier[postgresql]"'
        ) from None
    except Exception as error:  # SQLAlchemy's and Optuna's
        raise InvalidInputError(f"storage {place}: cannot be opened ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]


def description(problem: Problem) -> dict:
    """All that decides what the values of a study mean, as JSON-able values."""
    return {
        "version": VERSION,
        "space": str(problem.space),
        "objectives": [one.name for one in problem.objectives],
        "limits": [str(one) for one in problem.limits],
        "facts": json.loads(json.dumps(dict(problem.facts))),
    }


def violation_of(values: Mapping[str, Value], limits: tuple[Limit, ...]) -> float:
    """The largest one; 0 where all limits hold."""
    return max([0.0, *(one.violation(values[one.objective.name].number) for one in limits)])


def evaluated(study, problem: Problem) -> list[Evaluated]:
    """What a study holds, each point once."""
    from .points import point_of

    state = require_optuna().trial.TrialState
    found: dict[str, Evaluated] = {}
    for trial in study.get_trials(deepcopy=False, states=(state.COMPLETE,)):
        values = {name: Value(*one) for name, one in trial.user_attrs["values"].items()}
        point = point_of(problem.space, trial)
        one = Evaluated(trial.number, point, values, violation_of(values, problem.limits))
        found.setdefault(one.text, one)
    return list(found.values())


def front_of(problem: HasObjectives, points: list[Evaluated], most: int | None = None) -> list[Evaluated]:
    """The points within the limits that no other one beats, by their first objective; the point nearest to the limits
    where none is within them. most: how many at most, see `front.thinned`."""
    if not points:
        return []
    feasible = [one for one in points if one.violation == 0]
    if not feasible:
        return [min(points, key=lambda one: one.violation)]
    losses = np.array([[obj.loss(one.values[obj.name].number) for obj in problem.objectives] for one in feasible])
    found = front(losses)
    found = found if most is None else found[thinned(losses[found], most)]
    return [feasible[number] for number in sorted(found, key=lambda number: losses[number, 0])]


def _check(study, problem: Problem, storage: Path | str | None) -> None:
    """Raise InvalidInputError for a study of another problem or version, but not for one that is empty."""
    noted, place = study.user_attrs.get("espalier"), _shown(storage)
    if noted is None and not study.get_trials(deepcopy=False):
        return
    if (noted or {}).get("version") != VERSION:
        raise InvalidInputError(f"study {place}: of another version, accepted is {VERSION}; give another folder")
    for name, value in description(problem).items():
        if noted.get(name) != value:
            raise InvalidInputError(
                f"study {place}: was begun with {name} {str(noted.get(name))[:200]!r}, now {str(value)[:200]!r}; "
                "give the same or another folder"
            )
