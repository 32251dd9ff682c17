"""Which boards does M-CifarNet fit, all of its 1.29 M weights on the chip?

Weights are random, in `uniform<8>`: what a design takes depends on shapes, not on values. For each board either the
fastest design that fits by the models of resources, or what it lacks. What fits is built: its C++ runs under g++, its
SystemVerilog in Verilator, on random images, and both are compared with the integer network. Nothing is synthesized.

    python benchmarks/bench_fpga_boards.py [--boards pynq-z2 zcu104] [--images 2]
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch
from bench_fpga import simulated, write
from rich.console import Console
from rich.table import Table
from support.accelerators import Source, emulated
from support.records import merged_rows, write_record

import espalier
from espalier.codegen.fpga_hls.folding import fold
from espalier.codegen.fpga_hls.network import StageNetwork
from espalier.codegen.fpga_hls.stages import Convolution
from espalier.core.errors import InfeasibleDesignError
from espalier.targets.boards import BY_NAME
from espalier.training.networks import NETWORKS

RECORD, NAME, WEIGHTS = "fpga_boards", "mcifarnet", "uniform<8>"
BOARDS = ("pynq-z2", "zcu104")
OF_SIMULATION = (
    *("images", "images_bit_exact", "interval_cycles", "latency_cycles"),
    *("predicted_interval_cycles", "predicted_latency_cycles"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", nargs="+", choices=sorted(BY_NAME), default=list(BOARDS))
    parser.add_argument("--images", type=int, default=2)
    options = parser.parse_args()
    espalier.set_threads(1)
    network = source()
    rows = [described(network.network(), board) for board in options.boards]
    for row in (row for row in rows if "refused" not in row):
        row |= built(network, row["board"], options.images)
    rows = merged_rows(RECORD, rows, ("network", "board"))
    write_record(RECORD, rows)
    Console().print(table(rows))


def source() -> Source:
    """The network with random weights."""
    torch.manual_seed(0)
    plan = espalier.Plan(weights=WEIGHTS)
    mod = espalier.from_torch(NETWORKS[NAME]().eval(), torch.zeros(1, 3, 32, 32))
    images = np.random.default_rng(0).standard_normal((16, 3, 32, 32)).astype(np.float32)
    return Source(mod, plan, espalier.calibrate(mod, images, plan), True)


def described(stages: StageNetwork, board: str) -> dict:
    """A row: the fastest design by the models, or why there is none."""
    weights = sum(stage.weights.size for stage in stages.stages if isinstance(stage, Convolution))
    row = {"network": NAME, "weights": weights, "format": WEIGHTS, "board": board}
    try:
        design = fold(stages, BY_NAME[board])
    except InfeasibleDesignError as error:
        return {**row, "refused": str(error)}
    used = {name: round(value, 1) for name, value in dataclasses.asdict(design.resources).items()}
    return {**row, "interval_cycles": design.interval_cycles, "estimated": used}


def built(network: Source, board: str, count: int) -> dict:
    """What both emissions of the design give for random images."""
    program = network.program(board=board)
    x = np.random.default_rng(1).standard_normal((count, 3, 32, 32)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        write(program.graph, Path(folder))
        found = simulated(program, Path(folder), x)
    return {"cpp": emulated(program, x), "rtl": {name: found[name] for name in OF_SIMULATION}}


def table(rows: list[dict]) -> Table:
    """A row a board."""
    heads = ("board", "cycles a frame", "LUTs", "DSPs", "blocks of 36 kbit", "C++: wrong numbers", "RTL: right images")
    shown = Table(*heads, title=f"{NAME} in {WEIGHTS}")
    for row in rows:
        if "refused" in row:
            shown.add_row(row["board"], row["refused"])
        else:
            used = (f"{row['estimated'][name]:,g}" for name in ("luts", "dsps", "bram_36k"))
            right = (row["cpp"]["numbers_that_differ"], row["rtl"]["images_bit_exact"]) if "cpp" in row else ()
            shown.add_row(row["board"], f"{row['interval_cycles']:,}", *used, *map(str, right))
    return shown


if __name__ == "__main__":
    main()
