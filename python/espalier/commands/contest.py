"""Contenders that run the same network on the same inputs, by turns in one process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from espalier.core.artifact import Artifact
from espalier.measure import agreement, compare, peers
from espalier.measure.threads import set_threads
from espalier.report.tables import ContenderRow

from .arrays import Batch
from .output import rounds

TIMED_BATCHES = 64
SETTLE_S = 0.05


@dataclass(frozen=True)
class Contender:
    """Something that runs a network. artifact: what was compiled by us, None for another library."""

    name: str
    version: str
    run: Callable[[Batch], Sequence[np.ndarray]]
    artifact: Artifact | None = None

    @property
    def gated(self) -> bool:
        """Whether it computes only part of the network, so that its outputs differ."""
        return self.artifact is not None and any(one.macs < one.macs_dense for one in self.artifact.layers)


@dataclass(frozen=True)
class Contest:
    """rows: as `report.tables` shows them. outputs: the first output of each on all batches. disturbed: by name."""

    rows: list[ContenderRow]
    outputs: dict[str, np.ndarray]
    disturbed: list[str]

    def warning(self) -> tuple[str, ...]:
        """One line if the machine was busy."""
        if not self.disturbed:
            return ()
        limit = f"{100 * compare.CALM_SPREAD:.0f} %"
        return (
            f"The machine was busy: the quartiles of {', '.join(self.disturbed)} are more than {limit} apart. "
            "Close other programs and repeat.",
        )


def ours(name: str, artifact: Artifact) -> Contender:
    """A compiled network as a contender."""
    return Contender(
        name, metadata.version("espalier"), lambda batch: artifact.program.run(artifact.bind(batch)), artifact
    )


def peer(name: str, model: Path, artifact: Artifact, threads: int) -> Contender:
    """The same model in another library."""
    opened = peers.open_peer(name, model, {spec.name: spec.shape for spec in artifact.inputs}, threads)
    return Contender(opened.name, opened.version, opened.run)


def hold(
    contenders: Sequence[Contender],
    batches: Sequence[Batch],
    turns: int,
    threads: int,
    labels: np.ndarray | None = None,
) -> Contest:
    """Time the contenders, then run each on all batches. Ratios are to the first; labels give the accuracy."""
    set_threads(threads)
    calls = {one.name: _cycling(one.run, batches[:TIMED_BATCHES]) for one in contenders}
    with rounds(turns, "measuring") as advance:
        samples = compare.interleave(calls, turns, settle_s=SETTLE_S if threads > 1 else 0.0, after_round=advance)
    timings = compare.summarise(samples)
    with rounds(len(contenders) * len(batches), "comparing the outputs") as advance:
        outputs = {one.name: agreement.first_outputs(one.run, batches, advance) for one in contenders}
    first = timings[contenders[0].name].median_s
    rows = [
        ContenderRow(
            one.name,
            timings[one.name],
            timings[one.name].median_s / first,
            one.version,
            None if labels is None else agreement.top1(outputs[one.name], labels),
            one.artifact and sum(layer.macs for layer in one.artifact.layers),
        )
        for one in contenders
    ]
    return Contest(rows, outputs, compare.disturbed(timings))


def row_data(row: ContenderRow) -> dict:
    """A row as plain values."""
    return asdict(row)


def _cycling(run: Callable[[Batch], object], batches: Sequence[Batch]) -> Callable[[], object]:
    """A call without arguments that takes another batch each time."""
    endless = itertools.cycle(batches)
    return lambda: run(next(endless))
