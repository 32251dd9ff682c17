"""`espalier bench`: saved artifacts and other libraries on the same model, timed by turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espalier.core.artifact import Artifact
from espalier.core.errors import InvalidInputError
from espalier.report import tables
from espalier.targets.boards import KIND as FPGA

from . import arrays
from .compile import MODEL
from .output import Outcome

UNLABELLED_BATCHES = 64


@dataclass(frozen=True)
class BenchOptions:
    """Arguments of the command, see `espalier.cli`."""

    against: Sequence[str] = ()
    model: Path | None = None
    inputs: Path | None = None
    labels: Path | None = None
    threads: int = 1
    rounds: int = 20


def run(folders: Sequence[Path], options: BenchOptions) -> Outcome:
    """Time artifacts and peers, compare their outputs, and their accuracy where there are labels.

    The outcome's exit code is 1 if a network that was compiled dense differs from a peer.
    """
    from espalier import api

    from . import contest

    artifacts = _by_name(folders, [api.load(folder) for folder in folders])
    first = next(iter(artifacts.values()))
    batches, labels = _data(options, first)
    contenders = [contest.ours(name, artifact) for name, artifact in artifacts.items()]
    for name in options.against:
        contenders.append(contest.peer(name, _model(options, folders[0]), first, options.threads))
    held = contest.hold(contenders, batches, options.rounds, options.threads, labels)
    agreed, lines = _agreements(contenders, held.outputs, first.inputs[0].shape[0] * len(batches))
    conditions = (
        f"{options.rounds} rounds by turns in one process; threads: {options.threads}; ratio: time over the first's"
    )
    if options.inputs is None and any(one["gated"] for one in agreed):
        lines.append("Random inputs say little about a gated network's outputs: give real ones with --inputs.")
    accelerators = {name: _predicted(one) for name, one in artifacts.items() if one.target["kind"] == FPGA}
    lines += [_accelerator_line(name, one) for name, one in accelerators.items()]
    return Outcome(
        {
            "contenders": [{**contest.row_data(row), "accelerator": accelerators.get(row.name)} for row in held.rows],
            "agreement": agreed,
            "threads": options.threads,
            "rounds": options.rounds,
            "disturbed": held.disturbed,
        },
        (tables.comparison_table(held.rows), conditions, *lines, *held.warning()),
        exit_code=0 if all(one["agrees"] for one in agreed) else 1,
    )


def _by_name(folders: Sequence[Path], artifacts: Sequence[Artifact]) -> dict[str, Artifact]:
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    if len(set(names)) < len(names):
        raise InvalidInputError("bench: an artifact is named twice, accepted are different folders")
    for folder, artifact in zip(folders, artifacts):
        if artifact.inputs != artifacts[0].inputs:
            got, accepted = (", ".join(map(str, a.inputs)) for a in (artifact, artifacts[0]))
            raise InvalidInputError(f"{folder}: its inputs are {got}, accepted are those of {folders[0]}: {accepted}")
    return dict(zip(names, artifacts))


def _data(options: BenchOptions, artifact: Artifact) -> tuple[list[arrays.Batch], np.ndarray | None]:
    """Batches and labels; without labels only as many batches as a comparison needs."""
    if options.inputs is None:
        if options.labels:
            raise InvalidInputError("--labels: accepted only together with --inputs, which they belong to")
        return [arrays.random_batch(artifact.inputs, seed) for seed in range(8)], None
    batches = arrays.batches(arrays.read_inputs(options.inputs, artifact.inputs), artifact.inputs)
    labels = arrays.read_labels(options.labels or options.inputs, needed=options.labels is not None)
    return (batches[:UNLABELLED_BATCHES] if labels is None else batches), labels


def _model(options: BenchOptions, folder: Path) -> Path:
    model = options.model or folder / MODEL
    if not model.is_file():
        hint = "" if options.model else "; name the ONNX file with --model, the artifact was saved without a copy"
        raise InvalidInputError(f"model {model}: no such file{hint}")
    return model


def _predicted(artifact: Artifact) -> dict:
    """Of an accelerator, whose integer network on this machine's CPU is what was timed."""
    program = artifact.program
    clock_hz, interval, latency = program.board.clock_hz, program.schedule.interval_cycles, program.latency_cycles
    cycles = {"predicted_interval_cycles": interval, "predicted_latency_cycles": latency}
    seconds = {"predicted_latency_s": latency / clock_hz, "predicted_frames_per_s": clock_hz / interval}
    return {"timed": "its integer network on the host", "board": program.board.name, "clock_hz": clock_hz, **cycles,
            **seconds}  # fmt: skip


def _accelerator_line(name: str, one: dict) -> str:
    return (
        f"{name} is an accelerator for {one['board']}: what was timed is {one['timed']}, this CPU. Predicted of the "
        f"accelerator at {one['clock_hz'] / 1e6:g} MHz are a latency of {tables.duration(one['predicted_latency_s'])} "
        f"and {one['predicted_frames_per_s']:.0f} frames a second; see espalier profile."
    )


def _agreements(contenders, outputs: dict[str, np.ndarray], samples: int) -> tuple[list[dict], list[str]]:
    """How each of our networks compares with the first peer's outputs."""
    from espalier.measure.agreement import Agreement

    reference = next((one.name for one in contenders if one.artifact is None), None)
    found, lines = [], []
    for one in contenders:
        if reference is None or one.artifact is None:
            continue
        compared = Agreement.of(outputs[one.name], outputs[reference])
        agrees = one.gated or compared.within_float32
        found.append({"name": one.name, "with": reference, "gated": one.gated, "agrees": agrees, **vars(compared)})
        lines.append(_agreement_line(one, reference, compared, agrees, samples))
    return found, lines


def _agreement_line(one, reference: str, compared, agrees: bool, samples: int) -> str:
    same = f"{100 * compared.same_class:.1f} % of {samples} samples in the same class as {reference}"
    if one.gated:
        return f"{one.name} is gated: {same}"
    verdict = "agrees with" if agrees else "DIFFERS from"
    return (
        f"{one.name} {verdict} {reference}: outputs differ by at most {compared.max_difference:.2g}, "
        f"the largest is {compared.largest:.3g}"
    )
