"""How many cycles do channel gates save in hardware, the predictor included?

ResNet-8 with trained gates inside of its branches, in int8 (recipe `resnet8-gated`), becomes SystemVerilog for a
PYNQ-Z2; beside it the network without gates (`resnet8-int8`), its stages as parallel as the gated ones. Verilator
simulates both on CIFAR-10's test images; each answer must be that of its integer network, bit for bit. The bars: 1.3
times fewer cycles between images, at 85.5 % top-1 or better, within the part. Yosys counts the cells of both, and of
the network without gates that is as fast as the gated one, folded on its own. --no-synthesis leaves what the record
says of cells of the same SystemVerilog.

    python benchmarks/bench_fpga_gates.py [--images 20] [--interval 25000] [--folder out/fpga_gates] [--no-synthesis]
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path

from bench_fpga import recorded_cells, simulated, synthesized, write
from rich.console import Console
from rich.table import Table
from support import REPOSITORY
from support.accelerators import Source, hardware_digest, top1
from support.checkpoints import FOLDER
from support.cifar10 import load_test
from support.records import write_record

from espalier.codegen.fpga_hls.cost.cycles import graph_interval_cycles
from espalier.codegen.fpga_hls.cost.resources import graph_resources
from espalier.codegen.fpga_hls.fifo_depths import with_fifo_depths
from espalier.codegen.fpga_hls.network import Choice, assembled
from espalier.codegen.fpga_hls.program import FpgaProgram
from espalier.codegen.fpga_hls.stages import Convolution
from espalier.codegen.fpga_hls.timing import latency_cycles

GATED, DENSE = (FOLDER / f"resnet8-{name}.pt" for name in ("gated", "int8"))
RECORD = "fpga_gates"
SLOW = 200_000
"""Cycles a frame of the dense design whose parallelism is replaced."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gated", type=Path, default=GATED)
    parser.add_argument("--dense", type=Path, default=DENSE)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--interval", type=int, default=25_000)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "benchmarks" / "out" / "fpga_gates")
    parser.add_argument("--synthesis", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    images, labels = load_test()
    source = Source.of(options.gated)
    gated, x, found = source.program(options.interval), source.inputs(images), {"interval_bar": 1.3}
    dense = Source.of(options.dense)
    designs = {"gated": gated, "dense": as_parallel(dense, gated), "dense_as_fast": dense.program(options.interval)}
    for name, program in designs.items():
        folder = options.folder / name
        write(program.graph, folder)
        hardware = hardware_digest(program.graph)
        found[name] = {"hardware": hardware, "estimated": estimated(program)}
        if name != "dense_as_fast":
            found[name] |= {"top1": top1(program, x, labels), **simulated(program, folder, x[: options.images])}
        if options.synthesis:
            found[name] |= synthesized(program.graph, folder)
        else:
            found[name] |= recorded_cells(name, hardware, RECORD)
    found["times_fewer_cycles"] = found["dense"]["interval_cycles"] / found["gated"]["interval_cycles"]
    Console().print(table(found))
    write_record(RECORD, found)


def as_parallel(dense: Source, gated: FpgaProgram) -> FpgaProgram:
    """The dense network with the parallelism of the gated one, stage by stage."""
    network, made = dense.network(), {layer_of(stage): stage for stage in gated.graph.stages}
    choices = {}
    for stage in network.stages:
        like = made[layer_of(stage)]
        is_folded = isinstance(stage, Convolution)
        choices[stage.name] = Choice(folding=like.folding, products=like.products) if is_folded else Choice(like.lanes)
    return dataclasses.replace(dense.program(SLOW), graph=with_fifo_depths(assembled(network, choices)))


def estimated(program: FpgaProgram) -> dict:
    """Of a whole design, by the models."""
    cycles = {"interval_cycles": graph_interval_cycles(program.graph), "latency_cycles": latency_cycles(program.graph)}
    return cycles | dataclasses.asdict(graph_resources(program.graph, program.board.family))


def layer_of(stage) -> str:
    """Its name without the number that tells it from others: gates move these."""
    return re.sub(r"^s\d+_", "", stage.name)


def table(found: dict) -> Table:
    """A column a design."""
    shown = Table("", "gated", "dense, as parallel", "dense, as fast", title="ResNet-8 on an XC7Z020")
    designs = [found[name] for name in ("gated", "dense", "dense_as_fast")]
    for name in ("interval_cycles", "predicted_interval_cycles", "latency_cycles", "images_bit_exact", "top1"):
        shown.add_row(name, *(f"{one[name]:,}" if name in one else "" for one in designs))
    for name in ("luts", "ffs", "dsps", "bram_36k") if all("total" in one for one in designs) else ():
        shown.add_row(name, *(f"{one['total'][name]:,} of {one['board'][name]:,}" for one in designs))
    shown.add_row("times fewer cycles", f"{found['times_fewer_cycles']:.2f}", "(bar 1.3)", "")
    return shown


if __name__ == "__main__":
    main()
