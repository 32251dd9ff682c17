"""`espalier search`: architecture, plan and target together, until the budget is spent; then the front is built.

With --minimize or --maximize it answers a question about a finished study instead, and runs nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from espalier.core.artifact import MANIFEST
from espalier.core.errors import InvalidInputError
from espalier.report import tables

from .output import Outcome, note, shares, steps

INTERRUPTED = 130


@dataclass(frozen=True)
class SearchOptions:
    """Arguments of the command, see `espalier.cli`. limits: texts such as "accuracy>=90%"."""

    space: str = "resnet-cifar"
    targets: tuple[str, ...] = ("llvm",)
    objectives: str = "accuracy,latency"
    budget: str = "5m"
    limits: tuple[str, ...] = ()
    sampler: str = "auto"
    supernet: Path | None = None
    data: Path | None = None
    storage: str | None = None
    measures: bool = False
    builds: bool = True
    seed: int = 0
    fine_tune: int | None = None
    teacher: str | None = None
    tuned: Path | None = None
    workers: str | None = None
    simulate: bool = False
    points: int | None = None
    also: tuple[int, ...] = ()

    def options(self, target: str) -> tuple[str, ...]:
        """Of the command line that builds and measures a network of a search again, given its space."""
        words = ["--target", target, "--objectives", self.objectives]
        for name, value in (
            ("--supernet", self.supernet),
            ("--data", self.data),
            ("--fine-tune", self.fine_tune),
            ("--teacher", self.teacher),
            ("--tuned", self.tuned),
        ):
            words += [name, str(value)] if value is not None else []
        return (*words, *(["--simulate"] if self.simulate else []))


def run(folder: Path, how: SearchOptions) -> Outcome:
    """Search; the outcome's exit code is 130 if it was interrupted."""
    searches = [_checked(place, target, how) for place, target in _places(folder, how.targets)]
    found = [search() for search in searches]
    data = {"studies": [one.data for one in found]}
    shown = tuple(line for one in found for line in one.shown)
    return Outcome(data, shown, max(one.exit_code for one in found))


def ask(
    folder: Path, limits: tuple[str, ...], objective: str, is_maximized: bool, storage: str | None = None
) -> Outcome:
    """What of a finished study has least of an objective, or most, within limits."""
    from espalier.tuning.nas.built_front import FRONT, Built
    from espalier.tuning.nas.finished import query, read_study
    from espalier.tuning.nas.problem import Limit, objectives_of

    study, held = read_study(folder, storage), tuple(map(Limit.parse, limits))
    found = query(study, held, objectives_of([objective])[0], is_maximized)
    shown = [*(one.name for one in (*study.objectives, *(limit.objective for limit in held))), objective]
    names = list(dict.fromkeys(shown))
    if isinstance(found, Built):
        line = f"Artifact: {folder / FRONT / found.folder}; it has plan.json beside it"
        return Outcome(_built_row(found), (_built_table([found], names), line))
    values = {name: one.number for name, one in found.values.items()}
    return Outcome({"point": found.text, "values": values}, (_points_table([found], names), found.text))


def _places(folder: Path, targets: tuple[str, ...]) -> list[tuple[Path, str]]:
    """A study for each target: in the folder itself where there is one."""
    if (folder / MANIFEST).is_file():
        raise InvalidInputError(f"-o {folder}: is a compiled network, accepted is a new folder or that of a study")
    if len(set(targets)) < len(targets):
        raise InvalidInputError(f"--target: got {', '.join(targets)}, accepted is each once")
    if len(targets) == 1:
        return [(folder, targets[0])]
    return [(folder / target.replace("/", "-"), target) for target in targets]


def _checked(folder: Path, target: str, how: SearchOptions) -> Callable[[], Outcome]:
    """The search for a target, to be begun when those for all targets are known to make sense."""
    from espalier.tuning.budget import Budget
    from espalier.tuning.nas.built_front import build_front
    from espalier.tuning.nas.joint_space import JointSpace
    from espalier.tuning.nas.problem import Limit, objectives_of
    from espalier.tuning.nas.samplers import sampler_for
    from espalier.tuning.nas.search import problem_of
    from espalier.tuning.nas.study import NAME, Search, begun, study_name
    from espalier.tuning.nas.supernet_networks import Split, SupernetNetworks
    from espalier.tuning.nas.workers import RayWorkers

    budget, objectives = Budget.parse(how.budget), objectives_of(_names(how.objectives))
    space = JointSpace.read(how.space, target)
    split = Split.of(how.data) if how.data else Split.bundled()
    if how.simulate and not space.is_fpga:
        raise InvalidInputError(f"--simulate: got the target {target}, accepted are fpga_hls/<board>")
    is_trained = how.fine_tune is not None
    networks = SupernetNetworks(space.architectures, how.supernet, split, how.tuned, takes_table=is_trained)
    if how.tuned and not space.is_tabled:
        raise InvalidInputError(
            "--tuned: got a space with densities, activations of few bits, or settings of blocks and layers, which "
            f"{how.tuned} says nothing of; accepted is either"
        )
    limits = tuple(map(Limit.parse, how.limits))
    tuned = _fine_tuning(how, networks.weights, folder)
    problem = problem_of(space, networks, objectives, limits, folder, how.measures)
    name, origin = (study_name(folder, len(how.targets) > 1), _origin(folder)) if how.storage else (NAME, "")
    earlier = begun(problem, how.storage or folder, name)
    known = earlier.numbers if earlier else frozenset()
    if how.also and not how.builds:
        raise InvalidInputError("--also: got --no-build too, accepted is either")
    if unknown := [number for number in how.also if number not in known]:
        raise InvalidInputError(
            f"--also: {folder} has no network {unknown[0]}, accepted are numbers of networks that it has evaluated"
        )

    def run_search() -> Outcome:
        if how.storage and earlier:
            note(_joins(earlier, name, origin))
        with contextlib.ExitStack() as stack:
            workers = None
            if how.workers:
                workers = stack.enter_context(contextlib.closing(RayWorkers(how.workers, problem.evaluate)))
            sampler = sampler_for(how.sampler, budget, len(objectives), len(known))
            search = Search(problem, how.storage or folder, sampler, how.seed, name, origin)

            def build(tell) -> list:
                simulate = "rtl" if how.simulate else None
                options = how.options(target)
                which = {"most": how.points, "also": how.also}
                return build_front(
                    search, space, networks, folder, tell, tuned, simulate, options, **which, tell_failure=note
                )

            return _finished(search, budget, workers, build if how.builds else None, folder)

    return run_search


def _origin(folder: Path) -> str:
    """Of a study in a database, for those who meet it there."""
    return f"{socket.gethostname()}:{folder.resolve()}"


def _joins(earlier, name: str, origin: str) -> str:
    """That a study which others may have begun is gone on with."""
    line = f"this search joins the study {name!r} of the storage, which has {len(earlier.numbers)} networks"
    if earlier.origin in ("", origin):
        return line
    return f"{line} and was begun as {earlier.origin}; a folder of another name has a study of its own"


def _finished(search, budget, workers, build, folder: Path) -> Outcome:
    """Evaluate until the budget is spent, then `build` the front, if it is to be.

    WorkerDiedError says what is kept.
    """
    from espalier.tuning.nas.workers import WorkerDiedError

    try:
        end = _evaluate(search, budget, workers)
        if not search.evaluated:
            raise InvalidInputError(f"search: not a single network could be built ({search.last_refusal})")
        if build is None:
            return _outcome(search, end, folder, [])
        with steps(1) as bar:
            bar.begin("building the front")
            built = build(bar.part)
        return _outcome(search, end, folder, built)
    except WorkerDiedError as error:
        raise WorkerDiedError(f"{error}, after {_kept(search, folder)}") from None
    except KeyboardInterrupt:
        data = {"interrupted": True, "evaluated": len(search.evaluated), "study": str(folder)}
        return Outcome(data, (f"interrupted after {_kept(search, folder)}",), INTERRUPTED)


def _kept(search, folder: Path) -> str:
    return f"{len(search.evaluated)} networks, which are in {folder}; the same command goes on from there"


def _fine_tuning(how: SearchOptions, supernet: Path, folder: Path):
    """What --fine-tune and --teacher ask for, if anything."""
    from espalier.training.memory import keep_freed_memory
    from espalier.tuning.nas.fine_tuning import FineTuning

    if how.fine_tune is None:
        if how.teacher:
            raise InvalidInputError("--teacher: got no --fine-tune, accepted are both")
        return None
    if how.data is None:
        raise InvalidInputError("--fine-tune: got no --data, accepted is to train on CIFAR-10")
    keep_freed_memory()
    teacher = FineTuning.parse_teacher(how.teacher) if how.teacher else None
    return FineTuning(how.fine_tune, how.data, supernet, folder / "trained", teacher)


def _evaluate(search, budget, workers) -> str:
    """Run it under a bar that tells the current front."""
    from espalier.tuning.nas.study import front_of

    with shares("searching") as show:

        def tell(progress) -> None:
            best = front_of(search.problem, search.evaluated)
            first, last = (_short(search.problem, one) for one in (best[0], best[-1])) if best else ("", "")
            show(progress.share, f"{progress.evaluated} networks, {len(best)} on the front: {first} to {last}")

        return search.run(budget, tell, workers)


def _outcome(search, end: str, folder: Path, built: list) -> Outcome:
    from espalier.tuning.nas.study import front_of

    points, front = search.evaluated, front_of(search.problem, search.evaluated)
    lines = [f"{folder}: {len(points)} networks evaluated, {len(front)} on the front; {end}"]
    if front and front[0].violation:
        limits = ", ".join(map(str, search.problem.limits))
        lines.append(f"No network is within {limits}; this is the nearest one")
    if built:
        command = f"espalier report {shlex.quote(str(folder))} -o report.html"
        lines.append(f"Artifacts and plans are in {folder / 'front'}: {command}")
    rows = [*map(_built_row, built)] or [*map(_row, front)]
    data = {"study": str(folder), "evaluated": len(points), "end": end, "front": rows}
    needed = (*search.problem.objectives, *(limit.objective for limit in search.problem.limits))
    names = list(dict.fromkeys(one.name for one in needed))
    return Outcome(data, (_built_table(built, names) if built else _points_table(front, names), *lines))


def _row(point) -> dict:
    return {"number": point.number, "point": point.point, "values": _values(point.values)}


def _built_row(one) -> dict:
    names = {"architecture": one.architecture, "artifact": one.folder, "remark": one.remark}
    return {**_row(one.point), **names, "measured": _values(one.measured)}


def _values(values) -> dict:
    return {name: dataclasses.asdict(value) for name, value in values.items()}


def _built_table(built, names: list[str]):
    """A line for each built network: what the search said of it, and below "built" what was measured."""
    searched = [name for name in names if any(name in one.point.values for one in built)]
    measured = [name for name in names if any(name in one.measured for one in built)]
    headings = ("", "architecture", *(f">{name}" for name in searched), *(f">{name}, built" for name in measured))
    rows = [
        (one.folder, one.architecture, *_shown(one.point.values, searched), *_shown(one.measured, measured))
        for one in built
    ]
    return tables.plain_table(headings, rows)


def _points_table(points, names: list[str]):
    rows = [(str(one.number), *_shown(one.values, names)) for one in points]
    return tables.plain_table(("number", *(f">{name}" for name in names)), rows)


def _shown(values, names: list[str]) -> list[str]:
    from espalier.tuning.nas.problem import OBJECTIVES

    return [OBJECTIVES[name].shown(values[name].number) if name in values else tables.NONE for name in names]


def _short(problem, point) -> str:
    return "/".join(one.shown(point.values[one.name].number) for one in problem.objectives)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
