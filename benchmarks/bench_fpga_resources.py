"""How well does the FPGA generator know the look-up tables and flip-flops of its stages before synthesis?

Networks with weights in every format are folded at random, and each stage is synthesized alone by Yosys, for an XC7Z020
or for an ECP5 (`--family`), but for forks and adapters: these take a handful of LUTs, are known to one or two, and
would only flatter a correlation. Designs come in rounds of one format each. Of three rounds, the coefficients of the
resource models (`codegen/fpga_hls/cost`) are fitted to the first and the last; the second was not seen: the rank
correlation of its stages' LUTs is what counts, the bar is 0.95, for all stages and for convolutions alone. DSP blocks
and block RAMs are not fitted: they follow from the templates, and should be equal.

A stage is synthesized if the record lacks it, or has it of another netlist; more of them are added by the same command,
stage by stage, so that it can be stopped at any time. The coefficients are made of the record and of the estimates by
hand that are kept beside them, of nothing else. Designs for an ECP5 have fewer products in a cycle (`PARTS`); their
LUTs are those that the netlist's cells take when they are packed, and none is placed.

--lists: so many designs of a second network, with a gate, convolutions of its winners and a sum of two streams.

    python benchmarks/bench_fpga_resources.py [--family ecp5] [--designs 18] [--lists 0] [--write]

--write: put the fitted coefficients in the place of those that stand.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections import Counter
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
from espalier.codegen.fpga_hls.from_relax import streamed
from espalier.codegen.fpga_hls.network import Choice, StageNetwork, assembled
from espalier.codegen.fpga_hls.rtl.emit import emit, stage_module
from espalier.codegen.fpga_hls.stage_options import foldings, ways_to_multiply
from espalier.codegen.fpga_hls.stages import Adapter, Add, Convolution, Fork, Gate, Stage, folded
from espalier.core.files import write_atomically, write_files
from espalier.measure.synthesis.nextpnr import synthesize_ecp5
from espalier.measure.synthesis.yosys import netlist_digest, synthesize
from espalier.targets.boards import packs

FORMATS = ("uniform<8>", "uniform<4>", "codebook<4>", "shift<4>", "focused<4>", "binary")
FIRST_OF_LISTS = 108
"""Number of the first design of `Lists`: the first of a round, and of three rounds."""

MOST_LANES = 8
"""Of a stage in a cycle."""

ECP5_CELLS = {
    "luts": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
    "ffs": {"TRELLIS_FF": 1},
    "dsps": {"MULT18X18D": 1},
    "bram_36k": {"DP16KD": 0.5, "PDPW16KD": 0.5},
}
"""What a cell takes of each resource when nextpnr packs it: a memory in LUTs four, and two beside its address; wide
multiplexers lie between LUTs.
"""

CHAIN_LUTS = 4
"""Of a chain of carries, a cell where it begins and one where it ends."""

PULL = 0.3
"""A coefficient twice as large as the estimate by hand counts as much as an error of 30 % of a stage."""

BAR = 0.95


@dataclasses.dataclass(frozen=True)
class Part:
    """A family of parts that stages are counted for. most_products: of a stage in a cycle, more take Yosys minutes."""

    record: str
    most_products: int


PARTS = {"xc7": Part("fpga_resources", 48), "ecp5": Part("fpga_resources_ecp5", 12)}


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


class Lists(nn.Module):
    """What `Sample` lacks: a gate, a convolution of the winners only, one that reads them, the sum of two streams."""

    def __init__(self):
        super().__init__()
        self.first, self.gated, self.listed = nn.Conv2d(3, 16, 3, 1, 1), *(nn.Conv2d(16, 16, 3, 1, 1) for _ in range(2))
        self.last = nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu(self.first(x))
        y = torch.relu(self.listed(torch.relu(self.gated(x))))
        return self.last((torch.max_pool2d(x, 2) + torch.max_pool2d(y, 2)).mean((2, 3)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=PARTS, default="xc7")
    parser.add_argument("--designs", type=int, default=18)
    parser.add_argument("--lists", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    espalier.set_threads(1)
    family, record = options.family, PARTS[options.family].record
    numbers = [*range(options.designs), *range(FIRST_OF_LISTS, FIRST_OF_LISTS + options.lists)]
    for number in track(numbers, "synthesizing designs"):
        for point in synthesized(number, family):
            write_record(record, recorded([point], family))
    points = recorded([], family)
    fitted = fit(seen(points), json.loads(COEFFICIENTS.read_text())[family]["by_hand"])
    Console().print(table([point for point in points if is_held_out(point["design"])], fitted))
    if options.write:
        write(fitted, seen(points), family)


def is_held_out(design: int) -> bool:
    """Whether a design is of the second of three rounds, a round being a design of each format."""
    return design // len(FORMATS) % 3 == 1


def seen(points: list[dict]) -> list[dict]:
    """The points that coefficients are fitted to."""
    return [point for point in points if not is_held_out(point["design"])]


def recorded(points: list[dict], family: str = "xc7") -> list[dict]:
    """The points of a family's record, and these."""
    return merged_rows(PARTS[family].record, points, ("design", "stage"))


def synthesized(number: int, family: str = "xc7") -> Iterator[dict]:
    """Every stage of a design: what its resources are linear in, and its cells, by Yosys if the record lacks them."""
    rows = [row for row in recorded([], family) if row["design"] == number]
    known = {(row["stage"], row.get("netlist")): row["counted"] for row in rows}
    network, random = sample(number), np.random.default_rng(number)
    graph = assembled(network, {stage.name: drawn(stage, random, family) for stage in network.stages})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, emit(graph, packs(family)))
        for stage in (one for one in graph.stages if is_counted(one, number)):
            module = stage_module(stage)
            netlist = netlist_digest(folder, module)
            cells = known.get((stage.name, netlist)) or counted(folder, module, family)
            yield described(number, stage, netlist, cells, family)


def is_counted(stage: Stage, number: int) -> bool:
    """Whether a stage of a design is synthesized: of those with lists, what the others lack."""
    if number < FIRST_OF_LISTS:
        return not isinstance(stage, (Adapter, Fork))
    return isinstance(stage, (Gate, Add)) or (isinstance(stage, Convolution) and stage.is_listed)


def counted(folder: Path, module: str, family: str) -> dict[str, float]:
    """The resources of a module of an emitted project, by Yosys."""
    if family != "ecp5":
        return synthesize(folder, module).summary()
    synthesize_ecp5(folder, module)
    netlist = json.loads((folder / "synthesis" / f"{module}.ecp5.json").read_text())
    return packed(list(netlist["modules"][module]["cells"].values()))


def packed(cells: list[dict]) -> dict[str, float]:
    """The resources that cells of a netlist for an ECP5 (Yosys' JSON) take when they are packed."""
    kinds = Counter(cell["type"] for cell in cells)
    found = {name: sum(size * kinds[kind] for kind, size in sizes.items()) for name, sizes in ECP5_CELLS.items()}
    carries = [cell["connections"] for cell in cells if cell["type"] == "CCU2C"]
    inner = {carry["COUT"][0] for carry in carries}
    return found | {"luts": found["luts"] + CHAIN_LUTS * sum(carry["CIN"][0] not in inner for carry in carries)}


def sample(number: int) -> StageNetwork:
    """The network of a design: `Sample` or `Lists` with drawn weights, in the format whose turn it is."""
    torch.manual_seed(number)
    has_lists = number >= FIRST_OF_LISTS
    mod = espalier.from_torch((Lists if has_lists else Sample)().eval(), torch.zeros(1, 3, 16, 16))
    layers = {"gated": {"density": 0.5, "granularity": 4}} if has_lists else {}
    plan = espalier.Plan(weights=FORMATS[number % len(FORMATS)], layers=layers)
    images = np.random.default_rng(number).standard_normal((16, 3, 16, 16)).astype(np.float32)
    return streamed(lowered(mod, plan, espalier.calibrate(mod, images, plan))).network


def drawn(stage: Stage, random: np.random.Generator, family: str) -> Choice:
    """A random choice: numbers of products in a cycle are as likely as their logarithms are far apart."""
    if not isinstance(stage, Convolution):
        channels = stage.in_shape[2]
        return Choice(int(random.choice([one for one in range(1, MOST_LANES + 1) if channels % one == 0])))
    ways = ways_to_multiply(stage.products)
    products = ways[random.integers(len(ways))]
    most = PARTS[family].most_products
    folds = [one for one in foldings(stage) if folded(stage, one, products).products_per_cycle <= most]
    sizes = np.array([folded(stage, one, products).products_per_cycle for one in folds])
    weight = np.array([1 / np.sum(sizes == size) / size**0.5 for size in sizes])
    return Choice(folding=folds[random.choice(len(folds), p=weight / weight.sum())], products=products)


def described(number: int, stage: Stage, netlist: str, cells: dict, family: str) -> dict:
    """A row of the record."""
    return {"design": number, "stage": stage.name, **modelled(stage, family), "netlist": netlist, "counted": cells}


def modelled(stage: Stage, family: str) -> dict:
    """What the models know of a stage before it is synthesized."""
    return {
        "class": type(stage).__name__,
        "products": stage.products.kind if isinstance(stage, Convolution) else None,
        "features": {name: float(value) for name, value in features(stage, family).items()},
        "from_templates": {"dsps": dsps(stage, family), "bram_36k": blocks(stage, family)},
    }


def fit(points: list[dict], by_hand: dict) -> dict:
    """Coefficients, none negative, with the least squares of relative errors; for each class of stages.

    They are drawn to those by hand, see `PULL`, which stay where no point says anything of them; so do zeros.
    """
    return {
        kind: {
            resource: _fitted([point for point in points if point["class"] == kind], resource, estimates)
            for resource, estimates in resources.items()
        }
        for kind, resources in by_hand.items()
    }


def _fitted(rows: list[dict], resource: str, estimates: dict[str, float]) -> dict[str, float]:
    names = [name for name, value in estimates.items() if value]
    expected = np.array([estimates[name] for name in names])
    sizes = np.array([[row["features"].get(name, 0.0) for name in names] for row in rows]).reshape(-1, len(names))
    counted = np.array([max(row["counted"][resource], 1) for row in rows], float)
    values, _ = nnls(
        np.vstack([sizes / counted[:, None], np.diag(PULL / expected)]),
        np.concatenate([np.ones(len(rows)), np.full(len(names), PULL)]),
    )
    return estimates | {name: round(float(value), 4) for name, value in zip(names, values, strict=True)}


def predicted(row: dict, coefficients: dict, resource: str) -> float:
    """As `cost.resources` does."""
    fitted = coefficients[row["class"]][resource]
    return sum(fitted[name] * value for name, value in row["features"].items())


def table(points: list[dict], coefficients: dict) -> Table:
    """The models on designs that they were not fitted to."""
    equal = sum(
        point["counted"][one] == point["from_templates"][one] for point in points for one in ("dsps", "bram_36k")
    )
    shown = Table(
        *("stages", "number", "LUTs: rank correlation", "median error, %", "FFs: rank correlation", "median error, %"),
        title=f"Designs that were not fitted to; DSPs and blocks equal in {equal} of {2 * len(points)}",
        caption=f"the bar is a rank correlation of {BAR} for LUTs, of all stages and of convolutions",
    )
    for group, rows in ((group, rows) for group, rows in groups(points) if rows):
        shown.add_row(group, str(len(rows)), *_scores(rows, coefficients))
    return shown


def groups(points: list[dict]) -> Iterator[tuple[str, list[dict]]]:
    """All stages, convolutions, stages of each format, convolutions by how they multiply, and the other classes."""
    yield "all", points
    yield "convolutions", [point for point in points if point["class"] == "Convolution"]
    for number, name in enumerate(FORMATS):
        yield name, [point for point in points if point["design"] % len(FORMATS) == number]
    for kind in ("dsp", "lut"):  # what a format multiplies in otherwise, the others have alone
        yield f"products: {kind}", [point for point in points if point["products"] == kind]
    for kind in ("MaxPool", "MeanPool"):
        yield kind, [point for point in points if point["class"] == kind]


def _scores(rows: list[dict], coefficients: dict) -> Iterator[str]:
    for resource in ("luts", "ffs"):
        counted = np.array([row["counted"][resource] for row in rows], float)
        guessed = np.array([predicted(row, coefficients, resource) for row in rows])
        yield f"{spearmanr(counted, guessed).statistic:.3f}"
        yield f"{100 * np.median(np.abs(guessed - counted) / np.maximum(counted, 1)):.1f}"


def write(fitted: dict, points: list[dict], family: str) -> None:
    """The coefficients of the package, and what they were fitted to."""
    data = json.loads(COEFFICIENTS.read_text())
    data[family] |= {
        "source": f"Fitted by bench_fpga_resources.py to {len(points)} stages of the designs below, drawn to the "
        "estimates by hand; of stages and sizes that no such design has, these stand.",
        "fitted_to": sorted({point["design"] for point in points}),
        "coefficients": fitted,
    }
    write_atomically(COEFFICIENTS, (json.dumps(data, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
