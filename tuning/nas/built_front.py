"""From the front of a search to built and measured networks, and to `front.json`, which says what they are."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from espalier import api
from espalier.core.artifact import Artifact
from espalier.core.errors import EspalierError, InvalidInputError
from espalier.core.files import claimed, read_text, write_atomically
from espalier.frontend import bundled
from espalier.measure.threads import set_threads

from .evaluators import in_words
from .fine_tuning import FineTuning
from .joint_space import CPU, GPU, Candidate, JointSpace, on_cpu
from .problem import Value
from .study import Evaluated, Search, description, front_of
from .supernet_networks import SupernetNetworks, top1

RESULT, FRONT, SPACE = "front.json", "front", "space.txt"
NEXT, EARLIER = "front.next", "front.earlier"
"""The folder of a front while it is built, and of one while another takes its place."""

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


def build_front(
    search: Search, space: JointSpace, networks: SupernetNetworks, folder: Path, tell: Callable[[int, int, str], None],
    tuned: FineTuning | None = None, simulate: str | None = None, options: Sequence[str] = (), most: int | None = None,
    also: Sequence[int] = (), tell_failure: Callable[[str], None] = lambda words: None,
) -> list[Built]:  # fmt: skip
    """Build the points of the front, measure it on the target if that is this machine, judge it by images that the
    search has not seen, and save artifacts, plans, spaces of one point each, and `front.json`.

    tell: is told how many of how many are done, and what is done now. tuned: how the networks are trained further, by
    this and all other processes that build the same front; one of them builds what the others take from it.
    most: points of the front to build, see `front.thinned`. also: numbers of evaluated networks that are built too.
    simulate: "rtl" takes an accelerator's cycles from a simulation of its SystemVerilog, None from its exact model.
    options: of the command line that builds the same again from a space, for the report.
    tell_failure: is told in a line of each point that could not be trained or built, and is left out. Raises the
    first one's error where all are.
    """
    chosen, trained, failed = _chosen(search, most, also), {}, {}

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
    with _alone(folder, partial(tell, first, first + len(chosen))) as another_did:
        if another_did and (taken := _front_of(chosen, folder / RESULT, options)):
            return taken
        shutil.rmtree(folder / NEXT, ignore_errors=True)
        for number in (one for one in numbers if one not in failed):
            begin, place = partial(tell, first + number, first + len(chosen)), folder / NEXT / f"{number:02d}"
            begin("networks")
            with tried(number) as candidate:
                network = trained.get(number) or trained_of(candidate, networks, tuned, begin)
                built.append(_built(chosen[number], space, networks, place, network, words, simulate))
        if not built:
            shutil.rmtree(folder / NEXT, ignore_errors=True)
            raise failed[0]
        for number, error in failed.items():
            tell_failure(f"{space.candidate(chosen[number].point).architecture}: left out of the front ({error})")
            shutil.rmtree(folder / NEXT / f"{number:02d}", ignore_errors=True)
        facts = {**description(search.problem), "version": VERSION, "options": list(options)}
        _put_in_place(folder, {**facts, "front": [_as_data(one) for one in built]})
    return built


def _chosen(search: Search, most: int | None, also: Sequence[int]) -> list[Evaluated]:
    """What is built, by the first objective."""
    known = {one.number: one for one in search.evaluated}
    chosen = {one.number: one for one in front_of(search.problem, search.evaluated, most)}
    chosen |= {number: known[number] for number in also}
    first = search.problem.objectives[0]
    return sorted(chosen.values(), key=lambda one: first.loss(one.values[first.name].number))


def _put_in_place(folder: Path, content: dict) -> None:
    """What was built, for an earlier front. Without `front.json`, if the process dies in the midst of it, a study has
    no front."""
    shutil.rmtree(folder / EARLIER, ignore_errors=True)
    (folder / RESULT).unlink(missing_ok=True)
    if (folder / FRONT).exists():
        (folder / FRONT).rename(folder / EARLIER)
    (folder / NEXT).rename(folder / FRONT)
    write_atomically(folder / RESULT, (json.dumps(content, indent=2) + "\n").encode())
    shutil.rmtree(folder / EARLIER, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder: Path, tell: Callable[[str], None]) -> Iterator[bool]:
    """While no other process builds a front in the folder; whether one did until now."""
    with claimed(folder / CLAIM) as is_mine:
        if is_mine:
            yield False
            return
    tell("networks, by another process")
    with claimed(folder / CLAIM, waits=True):
        yield True


def _front_of(chosen: list[Evaluated], path: Path, options: Sequence[str]) -> list[Built]:
    """The front in the file, if it is of these points and options; else nothing."""
    found, given = read_front(path)
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


def read_front(path: Path) -> tuple[list[Built], tuple[str, ...]]:
    if not path.is_file():
        return [], ()
    try:
        content = json.loads(read_text(path, "front"))
        if content["version"] != VERSION:
            raise InvalidInputError(f"front {path}: of version {content['version']!r}, accepted is {VERSION}")
        return [_from_data(one) for one in content["front"]], tuple(content["options"])
    except (ValueError, KeyError, TypeError):
        raise InvalidInputError(f"front {path}: accepted is what `espalier search` wrote") from None


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
