"""How well does the FPGA generator know the look-up tables and flip-flops of its stages before synthesis?

Networks with weights in every format are folded at random, and each stage is synthesized alone by Yosys for an XC7Z020,
but for forks and adapters: these take a handful of LUTs, are known to one or two, and would only flatter a correlation.
Coefficients of the resource models (`codegen/fpga_hls/cost`) are fitted to three quarters of these designs; the rest
were not seen: the rank correlation of their stages' LUTs is what counts, the bar is 0.95. DSP blocks and block RAMs are
not fitted: they follow from the templates, and should be equal.

Stages that are in the record are not synthesized again; more of them are added by the same command, stage by stage, so
that it can be stopped at any time.

    python benchmarks/bench_fpga_resources.py [--designs 24] [--write]

--write: put the fitted coefficients in the place of those that stand.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.optimize import nnls
from scipy.stats import spearmanr
from support.records import merged_rows, write_record
from torch import nn

import espalier
from espalier.build import lowered
from espalier.codegen.fpga_hls.cost.resources import COEFFICIENTS, blocks, dsps, features
from espalier.codegen.fpga_hls.folding import foldings, ways_to_multiply
from espalier.codegen.fpga_hls.from_relax import streamed
from espalier.codegen.fpga_hls.network import Choice, StageNetwork, assembled
from espalier.codegen.fpga_hls.rtl.emit import emit, stage_module
from espalier.codegen.fpga_hls.stages import Adapter, Convolution, Fork, Stage, folded
from espalier.core.files import write_atomically, write_files
from espalier.measure.synthesis.yosys import synthesize

RECORD = "fpga_resources"
FORMATS = ("uniform<8>", "uniform<4>", "codebook<4>", "shift<4>", "focused<4>", "binary")
MOST_PRODUCTS, MOST_LANES = 48, 8
"""Of a stage in a cycle: larger ones take Yosys minutes."""

HELD_OUT = 4
"""Every fourth design is not fitted to."""

PULL = 0.3
"""A coefficient twice as large as the one that stands, or of 1 where there is none, counts as much as an error of 30 %
of a stage.
"""

BAR = 0.95


class Sample(nn.Module):
    """Every kind of convolution, small: x [1, 3, 16, 16] to logits [1, 10]."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.outer = (
            nn.Conv2d(3, 16, 3, 1, 1),
            nn.Conv2d(16, 24, 3, 1, 1),
            nn.Conv2d(24, 16, 3, 1, 1),
        )
        self.expand, self.depthwise = nn.Conv2d(16, 32, 1), nn.Conv2d(32, 32, 3, 2, 1, groups=32)
        self.last, self.short, self.linear = nn.Conv2d(32, 32, 3, 2, 1), nn.Conv2d(32, 32, 1, 2), nn.Linear(32, 10)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(self.outer(torch.relu(self.inner(x))) + x)
        x = torch.relu(self.depthwise(torch.relu(self.expand(torch.max_pool2d(x, 2)))))
        return self.linear(torch.relu(self.last(x) + self.short(x)).mean((2, 3)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--designs", type=int, default=24)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    espalier.set_threads(1)
    for number in track(range(options.designs), "synthesizing designs"):
        for point in synthesized(number):
            write_record(RECORD, recorded([point]))
    points = recorded([])
    data = json.loads(COEFFICIENTS.read_text())
    standing, held_out = data["coefficients"], [point for point in points if point["design"] % HELD_OUT == 0]
    fitted_to = [point for point in points if point["design"] % HELD_OUT]
    fitted = standing | fit(fitted_to, standing)
    Console().print(
        table("The model as it stands", [one for one in points if one["design"] not in data["fitted_to"]], standing)
    )
    Console().print(table("The model fitted", held_out, fitted))
    if options.write:
        write(fitted, fitted_to)


def recorded(points: list[dict]) -> list[dict]:
    """The points of the record, and these."""
    return merged_rows(RECORD, points, ("design", "stage"))


def synthesized(number: int) -> Iterator[dict]:
    """Every stage of a design: what its resources are linear in, and its cells, by Yosys if the record lacks them."""
    known = {point["stage"]: point["counted"] for point in recorded([]) if point["design"] == number}
    network, random = sample(number), np.random.default_rng(number)
    graph = assembled(network, {stage.name: drawn(stage, random) for stage in network.stages})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, emit(graph))
        for stage in (one for one in graph.stages if not isinstance(one, (Adapter, Fork))):
            cells = known.get(stage.name) or synthesize(folder, stage_module(stage)).summary()
            yield described(number, stage, cells)


def sample(number: int) -> StageNetwork:
    """The network of a design: `Sample` with drawn weights, in the format whose turn it is."""
    torch.manual_seed(number)
    mod = espalier.from_torch(Sample().eval(), torch.zeros(1, 3, 16, 16))
    plan = espalier.Plan(weights=FORMATS[number % len(FORMATS)])
    images = np.random.default_rng(number).standard_normal((16, 3, 16, 16)).astype(np.float32)
    return streamed(lowered(mod, plan, espalier.calibrate(mod, images, plan))).network


def drawn(stage: Stage, random: np.random.Generator) -> Choice:
    """A random choice: numbers of products in a cycle are as likely as their logarithms are far apart."""
    if not isinstance(stage, Convolution):
        channels = stage.in_shape[2]
        return Choice(int(random.choice([one for one in range(1, MOST_LANES + 1) if channels % one == 0])))
    ways = ways_to_multiply(stage.products)
    products = ways[random.integers(len(ways))]
    folds = [one for one in foldings(stage) if folded(stage, one, products).products_per_cycle <= MOST_PRODUCTS]
    sizes = np.array([folded(stage, one, products).products_per_cycle for one in folds])
    weight = np.array([1 / np.sum(sizes == size) / size**0.5 for size in sizes])
    return Choice(folding=folds[random.choice(len(folds), p=weight / weight.sum())], products=products)


def described(number: int, stage: Stage, cells: dict) -> dict:
    """A row of the record."""
    return {
        "design": number,
        "stage": stage.name,
        "class": type(stage).__name__,
        "products": stage.products.kind if isinstance(stage, Convolution) else None,
        "features": {name: float(value) for name, value in features(stage).items()},
        "counted": cells,
        "from_templates": {"dsps": dsps(stage), "bram_36k": blocks(stage)},
    }


def fit(points: list[dict], standing: dict) -> dict:
    """Coefficients, none negative, with the least squares of relative errors; for each class of stages.

    Those that stand are drawn on, for what few points say little of: see `PULL`.
    """
    found = {}
    for kind in sorted({point["class"] for point in points}):
        rows = [point for point in points if point["class"] == kind]
        names = sorted({name for row in rows for name in row["features"]})
        matrix = np.array([[row["features"].get(name, 0.0) for name in names] for row in rows])
        found[kind] = {}
        for resource in ("luts", "ffs"):
            counted = np.array([max(row["counted"][resource], 1) for row in rows], float)
            before = np.array([standing.get(kind, {}).get(resource, {}).get(name, 0.0) for name in names])
            scales = np.where(before > 0, before, 1)
            values, _ = nnls(
                np.vstack([matrix / counted[:, None], np.diag(PULL / scales)]),
                np.concatenate([np.ones(len(rows)), PULL * before / scales]),
            )
            found[kind][resource] = {name: round(float(value), 4) for name, value in zip(names, values) if value}
    return found


def predicted(row: dict, coefficients: dict, resource: str) -> float:
    """As `cost.resources` does."""
    fitted = coefficients[row["class"]][resource]
    return sum(fitted.get(name, 0.0) * value for name, value in row["features"].items())


def table(name: str, points: list[dict], coefficients: dict) -> Table:
    """A model on designs that it was not fitted to."""
    equal = sum(
        point["counted"][one] == point["from_templates"][one] for point in points for one in ("dsps", "bram_36k")
    )
    shown = Table(
        *("stages", "number", "LUTs: rank correlation", "median error, %", "FFs: rank correlation", "median error, %"),
        title=f"{name}, on designs it was not fitted to; DSPs and blocks equal in {equal} of {2 * len(points)}",
        caption=f"the bar is a rank correlation of {BAR} for LUTs",
    )
    for group, rows in groups(points):
        shown.add_row(group, str(len(rows)), *_scores(rows, coefficients))
    return shown


def groups(points: list[dict]) -> Iterator[tuple[str, list[dict]]]:
    """All stages, then convolutions by how they multiply."""
    yield "all", points
    for kind in sorted({point["products"] for point in points if point["products"]}):
        yield kind, [point for point in points if point["products"] == kind]


def _scores(rows: list[dict], coefficients: dict) -> Iterator[str]:
    for resource in ("luts", "ffs"):
        counted = np.array([row["counted"][resource] for row in rows], float)
        guessed = np.array([predicted(row, coefficients, resource) for row in rows])
        yield f"{spearmanr(counted, guessed).statistic:.3f}"
        yield f"{100 * np.median(np.abs(guessed - counted) / np.maximum(counted, 1)):.1f}"


def write(fitted: dict, points: list[dict]) -> None:
    """The coefficients of the package; those of classes that no design has stay."""
    data = json.loads(COEFFICIENTS.read_text())
    data["coefficients"] |= fitted
    data["fitted_to"] = sorted({point["design"] for point in points})
    data["source"] = f"Fitted by bench_fpga_resources.py to {len(points)} synthesized stages of the designs below."
    write_atomically(COEFFICIENTS, (json.dumps(data, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
