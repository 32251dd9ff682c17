"""A whole search: from a space and a target to a study, and from its front to built and measured networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espalier import api
from espalier.core.choice_space import ChoiceSpace
from espalier.core.errors import EspalierError, InvalidInputError
from espalier.core.files import read_text, sha256_of, write_atomically
from espalier.frontend import bundled
from espalier.measure.threads import set_threads

from .evaluators import (
    AllOf,
    Evaluator,
    FittedAccuracy,
    FpgaModel,
    MeasuredLatency,
    PredictedLatency,
    SupernetAccuracy,
    WeightSize,
)
from .fine_tuning import FineTuning
from .joint_space import Candidate, JointSpace
from .problem import OBJECTIVES, Limit, Objective, Problem, Value
from .samplers import require_optuna
from .study import FILE, NAME, Evaluated, Search, description, evaluated, front_of, opened
from .study import VERSION as STUDY_VERSION
from .supernet_networks import SupernetNetworks, top1

RESULT, LATENCIES, FRONT = "front.json", "latency", "front"
VERSION = 1
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
    latency = MeasuredLatency(networks) if is_measured else PredictedLatency(networks, folder and folder / LATENCIES)
    device: Evaluator = FpgaModel(networks) if space.is_fpga else latency
    accuracy: Evaluator = FittedAccuracy(networks, networks.tuned) if networks.tuned else SupernetAccuracy(networks)
    parts = (accuracy, WeightSize(networks), device)
    known = [name for part in parts for name in part.names]
    needed = [*objectives, *(limit.objective for limit in limits)]
    for one in needed:
        if one.name not in known:
            raise InvalidInputError(f"objective {one.name}: not known of this target, accepted are {', '.join(known)}")
    used = AllOf(tuple(part for part in parts if any(one.name in part.names for one in needed)))
    facts = {
        "space": space.architectures.name,
        "target": dict(space.target),
        "images": networks.split.origin,
        "supernet": sha256_of(networks.weights),
        "tuned": networks.tuned and networks.tuned.digest,
    }
    return Problem(space.choices, objectives, lambda point: used.evaluate(space.candidate(point)), limits, facts=facts)


def build_front(
    search: Search, space: JointSpace, networks: SupernetNetworks, folder: Path, tell: Callable[[int, int, str], None],
    tuned: FineTuning | None = None,
) -> list[Built]:  # fmt: skip
    """Build every point of the front, measure it on the target if that is this machine, judge it by images that the
    search has not seen, and save artifacts, plans and `front.json`.

    tell: is told how many of how many are done, and what is done now. tuned: how the networks are trained further.
    """
    chosen, built = front_of(search.problem, search.evaluated), []
    for number, point in enumerate(chosen):

        def begin(words: str, number: int = number) -> None:
            tell(number, len(chosen), words)

        begin("networks")
        built.append(_built(point, space, networks, folder / FRONT / f"{number:02d}", tuned, begin))
    content = {"version": VERSION, **description(search.problem), "front": [_as_data(one) for one in built]}
    write_atomically(folder / RESULT, (json.dumps(content, indent=2) + "\n").encode())
    return built


def _built(
    point: Evaluated, space: JointSpace, networks: SupernetNetworks, folder: Path, tuned: FineTuning | None,
    tell: Callable[[str], None],
) -> Built:  # fmt: skip
    candidate = space.candidate(point.point)
    mod, calibration = module_of(candidate, networks, tuned, tell)
    artifact = api.build(mod, candidate.target, candidate.plan, calibration)
    artifact.save(folder)
    candidate.plan.save(folder / "plan.json")
    measured, remark = {}, ""
    images, labels = networks.split.final
    set_threads(1)
    trained = tuned.words if tuned else "no fine-tuning"
    how = f"compiled, {len(labels)} {networks.split.origin} that the search has not seen, {trained}"
    measured["accuracy"] = Value(top1(artifact, images, labels), how)
    try:
        measured |= _measured(artifact, space.is_fpga)
    except EspalierError as error:
        remark = f"not measured here: {error}"
    layers = tuple({name: getattr(one, name) for name in LAYER} for one in artifact.layers)
    return Built(point, str(candidate.architecture), measured, layers, folder.name, remark)


def module_of(candidate: Candidate, networks: SupernetNetworks, tuned: FineTuning | None, tell: Callable[[str], None]):
    """(mod, calibration) with the supernet's weights, or with those that they became."""
    if tuned is None:
        return networks.calibrated(candidate.architecture, candidate.plan)
    network, is_quantized = tuned.trained(candidate.architecture, candidate.plan, tell)
    if not is_quantized:
        return networks.fitted(network, candidate.plan)
    from espalier.training import export

    mod, _, calibration = export(network, networks.example)
    return mod, calibration


def _measured(artifact, is_fpga: bool) -> dict[str, Value]:
    image = bundled.normalise(np.full((1, 32, 32, 3), 127, np.uint8))
    found = artifact.profile(image) if is_fpga else artifact.profile(image, repeats=MEASURED_RUNS)
    if is_fpga:
        how = f"model of the emitted design, exact in simulation; {found.board} at {found.clock_hz / 1e6:g} MHz"
        latency = Value(found.predicted_latency_cycles / found.clock_hz, how)
        return {"cycles": Value(float(found.predicted_interval_cycles), how), "latency": latency}
    return {"latency": Value(found.latency_s, f"measured, median of {MEASURED_RUNS} runs, 1 thread")}


@dataclass(frozen=True)
class Finished:
    """A study on disk. front: what `build_front` wrote, empty before it did."""

    facts: dict
    objectives: tuple[Objective, ...]
    points: list[Evaluated]
    front: list[Built]


def read_study(folder: Path) -> Finished:
    """A study without running anything; InvalidInputError for a folder that holds none, or one of another version."""
    optuna = require_optuna()
    if not (folder / FILE).is_file():
        raise InvalidInputError(f"study {folder}: it has no {FILE}, accepted is a folder that `espalier search` wrote")
    try:
        study = optuna.load_study(study_name=NAME, storage=opened(folder))
    except KeyError:
        raise InvalidInputError(f"study {folder}: its {FILE} holds another study") from None
    noted = study.user_attrs.get("espalier", {})
    if noted.get("version") != STUDY_VERSION:
        raise InvalidInputError(f"study {folder}: of another version, accepted is {STUDY_VERSION}; search again")
    objectives = tuple(OBJECTIVES[name] for name in noted["objectives"])
    limits = tuple(map(Limit.parse, noted["limits"]))
    problem = Problem(ChoiceSpace.parse(noted["space"]), objectives, lambda point: {}, limits)
    return Finished(noted, objectives, evaluated(study, problem), _read_front(folder / RESULT))


def _read_front(path: Path) -> list[Built]:
    if not path.is_file():
        return []
    try:
        content = json.loads(read_text(path, "front"))
        if content["version"] != VERSION:
            raise InvalidInputError(f"front {path}: of version {content['version']!r}, accepted is {VERSION}")
        return [_from_data(one) for one in content["front"]]
    except (ValueError, KeyError, TypeError):
        raise InvalidInputError(f"front {path}: accepted is what `espalier search` wrote") from None


def query(finished: Finished, limits: Sequence[Limit], minimized: Objective) -> Evaluated | Built:
    """Of a finished study's front, or of all points where it was not built, what is best within the limits.

    Measured values count where there are any. Raises InvalidInputError, with the nearest point, if none is within.
    """
    rows = [(one, {**one.point.values, **one.measured}) for one in finished.front]
    rows = rows or [(one, one.values) for one in finished.points]
    if not rows:
        raise InvalidInputError("study: nothing was evaluated yet, accepted is one with results; search first")
    for name in (minimized.name, *(limit.objective.name for limit in limits)):
        if name not in rows[0][1]:
            raise InvalidInputError(f"study: {name} was not evaluated, accepted are {', '.join(rows[0][1])}")

    def broken(values) -> float:
        return max([0.0, *(limit.violation(values[limit.objective.name].number) for limit in limits)])

    within = [row for row in rows if broken(row[1]) == 0]
    if not within:
        nearest, values = min(rows, key=lambda row: broken(row[1]))
        shown = ", ".join(f"{name} {OBJECTIVES[name].shown(one.number)}" for name, one in values.items())
        text = (nearest.point if isinstance(nearest, Built) else nearest).text
        asked = ", ".join(map(str, limits))
        raise InvalidInputError(f"study: no point is within {asked}; the nearest has {shown}: {text}")
    return min(within, key=lambda row: minimized.loss(row[1][minimized.name].number))[0]


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
