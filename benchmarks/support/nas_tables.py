"""Other people's measurements of whole networks, as tasks and options that the tuner's cost models take.

NAS-Bench-201 (Dong and Yang, ICLR 2020) with the latencies of HELP (Lee et al., NeurIPS 2021) and HW-NAS-Bench (Li et
al., ICLR 2021): 15,625 cells of six edges on 27 devices. Accel-NASBench (Ahmad et al., 2024): 5,138 networks of
MnasNet's space on accelerators.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from espalier.core.choices import Choice, Option, Task
from espalier.core.errors import InvalidInputError
from espalier.tuning.cost_model.interface import Features, Sample

from . import data_folder

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Of a cell of NAS-Bench-201, in the order of its string."""

CELL_MACS = dict(zip(OPERATIONS, (0.0, 0.0, 3.9e6, 35.4e6, 0.0)))
CELL_PASSES = dict(zip(OPERATIONS, (0, 1, 3, 3, 2)))
OTHER_MACS, PASS_CYCLES, OTHER_PASSES = 7.8e6, 3e6, 2
"""Multiply-accumulates of an edge in all 15 cells; how often it reads or writes a tensor; the same of the network's
other layers; and what a pass costs beside a multiply-accumulate."""

STAGES = ((16, 1), (24, 2), (40, 2), (80, 2), (112, 1), (192, 2), (320, 1))
"""Channels and stride of MnasNet's blocks; the first one reads 32 channels of 112 x 112."""


@dataclass(frozen=True)
class Table:
    """Networks with their measured latencies.

    task: stands for the device. settings: int [N, S], names: of the columns. columns: what a model sees [N, features].
    cycles: a rule's estimate [N]. seconds: [N].
    """

    task: Task
    names: tuple[str, ...]
    settings: np.ndarray
    columns: np.ndarray
    cycles: np.ndarray
    seconds: np.ndarray

    @cached_property
    def features(self) -> Features:
        """What a model sees of an option."""
        by_choice = dict(zip(self.choices, self.columns))
        names = tuple(f"column{number}" for number in range(self.columns.shape[1]))

        def rows(_task: Task, options: Sequence[Option]) -> np.ndarray:
            return np.array([by_choice[one.choice] for one in options]).reshape(-1, len(names))

        return Features(names, rows)

    @cached_property
    def choices(self) -> list[Choice]:
        """The networks."""
        return [Choice("network", tuple(zip(self.names, map(int, row)))) for row in self.settings]

    def options(self, numbers: Sequence[int], by_rule: bool) -> list[Option]:
        """Networks by number; without the rule all of them have the same cycles."""
        return [Option(self.choices[number], float(self.cycles[number]) if by_rule else 1.0) for number in numbers]

    def samples(self, numbers: Sequence[int], by_rule: bool) -> list[Sample]:
        """Measured networks."""
        pairs = zip(self.options(numbers, by_rule), self.seconds[numbers])
        return [Sample(self.task, option, float(seconds)) for option, seconds in pairs]


@cache
def nasbench201() -> Mapping[str, Table]:
    """The table of each device."""
    with np.load(_found("nasbench201_hw.npz")) as stored:
        cells = [_operations(text.decode()) for text in stored["arch"]]
        latency_s = dict(zip(stored["devices"].tolist(), stored["latency_ms"].T.astype(float) / 1e3))
    settings = np.array([[OPERATIONS.index(one) for one in cell] for cell in cells])
    one_hot = np.eye(len(OPERATIONS))[settings].reshape(len(cells), -1)
    columns = np.concatenate([one_hot, [_of_live_part(cell) for cell in cells]], axis=1)
    cycles = np.array([_cell_cycles(cell) for cell in cells])
    names = tuple(f"edge{number}" for number in range(len(EDGES)))
    tasks = {name: Task("nas-bench-201", {}, {"device": name}) for name in latency_s}
    return {name: Table(tasks[name], names, settings, columns, cycles, one) for name, one in latency_s.items()}


@cache
def nasbench201_error() -> np.ndarray:
    """The error on CIFAR-10 [N], 0 to 1, of the same cells after 200 epochs."""
    with np.load(_found("nasbench201_hw.npz")) as stored:
        return 1 - stored["acc_cifar10"].astype(float) / 100


@cache
def accel_nasbench() -> Mapping[str, Table]:
    """The table of each accelerator, ZCU102 and VCK190, of the networks that were measured on it."""
    with gzip.open(_found("accel_nasbench.csv.gz"), "rt") as file:
        rows = list(csv.DictReader(file))
    names = tuple(f"block{block}_{setting}" for block in range(7) for setting in ("e", "k", "l", "se"))
    found = {}
    for device in ("zcu102", "vck190"):
        measured = [row for row in rows if row[f"latency_{device}"]]
        settings = np.array([[int(row[name]) for name in names] for row in measured])
        totals = np.array([_mnasnet_totals(row) for row in settings])
        columns = np.concatenate([settings, np.log1p(totals)], axis=1)
        seconds = np.array([float(row[f"latency_{device}"]) for row in measured]) / 1e3
        task = Task("accel-nasbench", {}, {"device": device})
        found[device] = Table(task, names, settings, columns, totals[:, 0] + totals[:, 1], seconds)
    return found


def _found(name: str):
    path = data_folder() / "nas-tables" / name
    if not path.is_file():
        raise InvalidInputError(f"{path}: no such file; set ESPALIER_DATA to the folder with nas-tables/")
    return path


def _operations(text: str) -> list[str]:
    return [edge.split("~")[0] for node in text.split("+") for edge in node.strip("|").split("|")]


def _of_live_part(cell: Sequence[str]) -> list[float]:
    """How often each operation is on a path from the input to the output, and the longest such paths.

    A compiler drops what lies on no path. Lengths are in operations that compute, and in passes over a tensor.
    """
    reached, needed = {0}, {3}
    for number, (start, end) in enumerate(EDGES):
        if start in reached and cell[number] != "none":
            reached.add(end)
    for number, (start, end) in reversed(list(enumerate(EDGES))):
        if end in needed and cell[number] != "none":
            needed.add(start)
    live = [one if start in reached and end in needed else "none" for one, (start, end) in zip(cell, EDGES)]
    counts = [float(live.count(one)) for one in OPERATIONS]
    computes = {one: float(one not in ("none", "skip_connect")) for one in OPERATIONS}
    return [*counts, _longest(live, computes), _longest(live, CELL_PASSES)]


def _longest(cell: Sequence[str], lengths: Mapping[str, float]) -> float:
    reached = {0: 0.0}
    for one, (start, end) in zip(cell, EDGES):
        if one != "none" and start in reached:
            reached[end] = max(reached.get(end, 0.0), reached[start] + lengths[one])
    return reached.get(3, 0.0)


def _cell_cycles(cell: Sequence[str]) -> float:
    passes = OTHER_PASSES + sum(CELL_PASSES[one] for one in cell)
    return OTHER_MACS + sum(CELL_MACS[one] for one in cell) + PASS_CYCLES * passes


def _mnasnet_totals(settings: np.ndarray) -> list[float]:
    """Multiply-accumulates of 1x1 and of depthwise layers, values written, layers, and layers with squeeze-excite."""
    totals, channels, size = np.zeros(5), 32, 112
    for (expansion, kernel, layers, squeeze), (width, stride) in zip(settings.reshape(-1, 4), STAGES):
        for layer in range(layers):
            hidden, out = channels * expansion, size // (stride if layer == 0 else 1)
            expand = channels * hidden * size**2 if expansion > 1 else 0
            totals += [
                expand + hidden * width * out**2,
                hidden * kernel**2 * out**2,
                hidden * (size**2 + out**2),
                1,
                squeeze,
            ]
            channels, size = width, out
    return totals.tolist()
