"""A whole search: from a space and a target to a study, and from its front to built and measured networks."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from espalier import api
from espalier.core.architecture import SPACES
from espalier.core.artifact import Artifact
from espalier.core.choice_space import ChoiceSpace, Point
from espalier.core.errors import EspalierError, InvalidInputError
from espalier.core.files import claimed, read_text, sha256_of, write_atomically
from espalier.frontend import bundled
from espalier.measure.threads import set_threads

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
    in_words,
)
from .fine_tuning import FineTuning
from .joint_space import CPU, GPU, Candidate, JointSpace, choices_of, on_cpu
from .problem import OBJECTIVES, Limit, Objective, Problem, Value
from .samplers import require_optuna
from .study import FILE, NAME, Evaluated, Search, description, evaluated, front_of, opened
from .study import VERSION as STUDY_VERSION
from .supernet_networks import SupernetNetworks, top1

RESULT, LATENCIES, FRONT, SPACE = "front.json", "latency", "front", "space.txt"
CLAIM = "building"
"""The file that a process holds while it builds the front."""

VERSION = 2
MEASURED_RUNS = 50
LAYER = ("name", "macs", "weights", "channels")
"""What is kept of each layer of a built network."""


@dataclass(frozen=True)
class Built:
    """A point of the front that was built. measured: values of the built network; folder: of its artifact and plan.

    remark: what could not be measured here, and why; else empty.
    """

    point: Evaluated
    architecture: str
    measured: dict[str, Value]
    layers: tuple[dict, ...]
    folder: str
    remark: str = ""


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


def build_front(
    search: Search, space: JointSpace, networks: SupernetNetworks, folder: Path, tell: Callable[[int, int, str], None],
    tuned: FineTuning | None = None, simulate: str | None = None, options: Sequence[str] = (), most: int | None = None,
    tell_failure: Callable[[str], None] = lambda words: None,
) -> list[Built]:  # fmt: skip
    """Build the points of the front, measure it on the target if that is this machine, judge it by images that the
    search has not seen, and save artifacts, plans, spaces of one point each, and `front.json`.

    tell: is told how many of how many are done, and what is done now. tuned: how the networks are trained further, by
    this and all other processes that build the same front; one of them builds what the others take from it.
    most: points to build, see `front.thinned`.
    simulate: "rtl" takes an accelerator's cycles from a simulation of its SystemVerilog, None from its exact model.
    options: of the command line that builds the same again from a space, for the report.
    tell_failure: is told in a line of each point that could not be trained or built, and is left out. Raises the
    first one's error where all are.
    """
    chosen, trained, failed = front_of(search.problem, search.evaluated, most), {}, {}

    @contextlib.contextmanager
    def tried(number: int) -> Iterator[Candidate]:
        candidate = space.candidate(chosen[number].point)
        try:
            yield candidate
        except EspalierError as error:
            failed[number] = error

    numbers = range(len(chosen))
    for number in numbers if tuned else ():
        with tried(number) as candidate:
            begin = partial(tell, number, 2 * len(chosen))
            trained[number] = tuned.trained_unless_another_does(candidate.architecture, candidate.plan, begin)
    first, built, words = len(chosen) if tuned else 0, [], tuned.words if tuned else "no fine-tuning"
    with _alone(folder) as another_did:
        if another_did and (taken := _front_of(chosen, folder / RESULT, options)):
            return taken
        for number in (one for one in numbers if one not in failed):
            begin, place = partial(tell, first + number, first + len(chosen)), folder / FRONT / f"{number:02d}"
            begin("networks")
            with tried(number) as candidate:
                network = trained.get(number) or trained_of(candidate, networks, tuned, begin)
                built.append(_built(chosen[number], space, networks, place, network, words, simulate))
        if not built:
            raise failed[0]
        for number, error in failed.items():
            tell_failure(f"{space.candidate(chosen[number].point).architecture}: left out of the front ({error})")
        facts = {**description(search.problem), "version": VERSION, "options": list(options)}
        content = {**facts, "front": [_as_data(one) for one in built]}
        write_atomically(folder / RESULT, (json.dumps(content, indent=2) + "\n").encode())
        _remove_others(folder / FRONT, {one.folder for one in built})
    return built


def _remove_others(front: Path, names: Set[str]) -> None:
    """Folders of an earlier front, of which `front.json` says nothing any more."""
    for one in front.iterdir():
        if one.name not in names and one.is_dir():
            shutil.rmtree(one)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """While no other process builds a front in the folder; whether one did until now."""
    with claimed(folder / CLAIM) as is_mine:
        if is_mine:
            yield False
            return
    with claimed(folder / CLAIM, waits=True):
        yield True


def _front_of(chosen: list[Evaluated], path: Path, options: Sequence[str]) -> list[Built]:
    """The front in the file, if it is of these points and options; else nothing."""
    found, given = _read_front(path)
    return found if ([one.point for one in found], given) == (chosen, tuple(options)) else []


def _built(
    point: Evaluated, space: JointSpace, networks: SupernetNetworks, folder: Path, trained: tuple, words: str,
    simulate: str | None,
) -> Built:  # fmt: skip
    """trained: what `trained_of` gives; words: how it was trained."""
    candidate = space.candidate(point.point)
    mod, calibration = module_of(candidate, trained, networks)
    artifact = api.build(mod, candidate.target, candidate.plan, calibration)
    artifact.save(folder)
    candidate.plan.save(folder / "plan.json")
    write_atomically(folder / SPACE, space.text(point.point).encode())
    measured, remark = {"accuracy": _judged(candidate, artifact, trained, networks, words)}, ""
    try:
        measured |= _measured(artifact, candidate, space, simulate)
    except EspalierError as error:
        remark = f"not measured here: {error}"
    layers = tuple({name: getattr(one, name) for name in LAYER} for one in artifact.layers)
    return Built(point, str(candidate.architecture), measured, layers, folder.name, remark)


def trained_of(candidate: Candidate, networks: SupernetNetworks, tuned: FineTuning | None, tell: Callable[[str], None]):
    """(network, has_plan): with the supernet's weights, or as `FineTuning.trained` gives it."""
    if tuned is None:
        return networks.network(candidate.architecture), False
    return tuned.trained(candidate.architecture, candidate.plan, tell)


def module_of(candidate: Candidate, trained: tuple, networks: SupernetNetworks):
    """(mod, calibration) of what `trained_of` gave for the candidate, or for its like on another target; mod computes
    a batch."""
    network, has_plan = trained
    if not has_plan:
        return networks.fitted(network, candidate.plan, candidate.batch)
    from espalier.training import export

    mod, _, calibration = export(network, networks.examples(candidate.batch))
    return mod, calibration


def _judged(candidate: Candidate, artifact: Artifact, trained: tuple, networks: SupernetNetworks, words: str) -> Value:
    """Accuracy on images that the search has not seen: of the artifact, or of what this machine's CPU makes of the same
    trained network where the artifact does not run here or takes batches. words: how it was trained."""
    images, labels = networks.split.final
    seen = f"{len(labels)} {networks.split.origin} that the search has not seen, {words}"
    set_threads(1)
    if candidate.batch == 1 and candidate.target["kind"] != GPU:
        try:
            return Value(top1(artifact, images, labels), f"compiled, {seen}")
        except EspalierError:
            pass  # a processor that this one is not
    plan = on_cpu(candidate.plan)
    here = dataclasses.replace(candidate, plan=plan, target={"kind": CPU}, batch=1)
    mod, calibration = module_of(here, trained, networks)
    return Value(top1(api.build(mod, CPU, plan, calibration), images, labels), f"compiled for this CPU, {seen}")


def _measured(artifact: Artifact, candidate: Candidate, space: JointSpace, simulate: str | None) -> dict[str, Value]:
    image = bundled.normalise(np.full((candidate.batch, 32, 32, 3), 127, np.uint8))
    if space.is_fpga:
        return _of_accelerator(artifact.profile(image, simulate=simulate))
    set_threads(candidate.threads)
    seconds = artifact.profile(image, repeats=MEASURED_RUNS).latency_s
    device = f"batches of {candidate.batch}" if space.is_gpu else in_words(candidate.threads)
    how = f"measured, median of {MEASURED_RUNS} runs, {device}"
    return {"latency": Value(seconds, how), "throughput": Value(candidate.batch / seconds, how)}


def _of_accelerator(found) -> dict[str, Value]:
    """Cycles and times of a profile."""
    at_clock, energy = f"{found.board} at {found.clock_hz / 1e6:g} MHz", {}
    if found.interval_cycles is None:
        how = f"model of the emitted design, exact in simulation; {at_clock}"
        interval, latency = found.predicted_interval_cycles, found.predicted_latency_cycles
    else:
        how = f"simulated SystemVerilog; {at_clock}"
        interval, latency = found.interval_cycles, found.latency_cycles
        joules = found.estimated_power_w * interval / found.clock_hz
        energy = {"energy": Value(joules, "estimate: dynamic power, by what switches in the simulated SystemVerilog")}
    return {
        "cycles": Value(float(interval), how),
        "latency": Value(latency / found.clock_hz, how),
        "throughput": Value(found.clock_hz / interval, how),
        **energy,
    }


@dataclass(frozen=True)
class Finished:
    """A study on disk. front: what `build_front` wrote, empty before it did; options: of its command line."""

    facts: dict
    objectives: tuple[Objective, ...]
    points: list[Evaluated]
    front: list[Built]
    options: tuple[str, ...] = ()


def study_name(folder: Path, is_of_several: bool = False) -> str:
    """What a study is called in a database: as its folder is; as both folders are, where it is one of several."""
    here = folder.resolve()
    return f"{NAME} {here.parent.name}/{here.name}" if is_of_several else f"{NAME} {here.name}"


def read_study(folder: Path, storage: str | None = None) -> Finished:
    """A study without running anything. storage: the URL that the search was given, if any.

    Raises InvalidInputError for a folder that holds none, or one of another version.
    """
    optuna = require_optuna()
    if not storage and not (folder / FILE).is_file():
        raise InvalidInputError(
            f"study {folder}: it has no {FILE}, accepted is a folder that `espalier search` wrote, or its --storage"
        )
    place = opened(storage or folder)
    names = {one.study_name for one in optuna.get_all_study_summaries(place, include_best_trial=False)}
    accepted = (study_name(folder), study_name(folder, is_of_several=True)) if storage else (NAME,)
    name = next((one for one in accepted if one in names), None)
    if name is None:
        raise InvalidInputError(f"study {folder}: {'the storage' if storage else f'its {FILE}'} holds others only")
    study = optuna.load_study(study_name=name, storage=place)
    noted = study.user_attrs.get("espalier", {})
    if noted.get("version") != STUDY_VERSION:
        raise InvalidInputError(f"study {folder}: of another version, accepted is {STUDY_VERSION}; search again")
    objectives = tuple(OBJECTIVES[name] for name in noted["objectives"])
    limits = tuple(map(Limit.parse, noted["limits"]))
    problem = Problem(_choices(noted), objectives, lambda point: {}, limits)
    return Finished(noted, objectives, evaluated(study, problem), *_read_front(folder / RESULT))


def _choices(noted: Mapping) -> ChoiceSpace:
    """Of what a study has noted."""
    choices, architectures = ChoiceSpace.parse(noted["space"]), SPACES.get(noted["facts"].get("space"))
    return choices_of(architectures, choices.dimensions) if architectures else choices


def _read_front(path: Path) -> tuple[list[Built], tuple[str, ...]]:
    if not path.is_file():
        return [], ()
    try:
        content = json.loads(read_text(path, "front"))
        if content["version"] != VERSION:
            raise InvalidInputError(f"front {path}: of version {content['version']!r}, accepted is {VERSION}")
        return [_from_data(one) for one in content["front"]], tuple(content["options"])
    except (ValueError, KeyError, TypeError):
        raise InvalidInputError(f"front {path}: accepted is what `espalier search` wrote") from None


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


def _as_data(one: Built) -> dict:
    def values(of) -> dict:
        return {name: [value.number, value.how] for name, value in of.items()}

    point = {"number": one.point.number, "point": one.point.point, "values": values(one.point.values)}
    return {
        **point, "violation": one.point.violation, "architecture": one.architecture, "measured": values(one.measured),
        "layers": list(one.layers), "folder": one.folder, "remark": one.remark,
    }  # fmt: skip


def _from_data(data: dict) -> Built:
    def values(of) -> dict:
        return {name: Value(*value) for name, value in of.items()}

    point = Evaluated(data["number"], data["point"], values(data["values"]), data["violation"])
    layers, measured = tuple(data["layers"]), values(data["measured"])
    return Built(point, data["architecture"], measured, layers, data["folder"], data["remark"])
