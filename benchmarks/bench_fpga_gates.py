"""How many cycles do channel gates save in hardware, the predictor included?

MLPerf Tiny's integer ResNet-8 with gates inside of its branches (calibrated on CIFAR-10, half of the channels kept)
becomes SystemVerilog for a PYNQ-Z2; beside it the same stages with the same parallelism, without gates. Verilator
simulates both on CIFAR-10's test images; each answer must be that of its integer network, bit for bit. The bar: 1.3
times fewer cycles between images.

    python benchmarks/bench_fpga_gates.py [--images 4] [--interval 20000] [--density 0.5] [--folder out/fpga_gates]
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from bench_fpga import BOARD, accelerator, simulated, write
from rich.console import Console
from rich.table import Table
from support import REPOSITORY
from support.cifar10 import load_train
from support.records import write_record

import espalier
from espalier.build import lowered
from espalier.codegen.fpga_hls.fifo_depths import with_fifo_depths
from espalier.codegen.fpga_hls.from_relax import streamed
from espalier.codegen.fpga_hls.network import Choice, assembled
from espalier.codegen.fpga_hls.program import FpgaProgram
from espalier.codegen.fpga_hls.stages import Convolution
from espalier.core.calibration import Calibration
from espalier.frontend.bundled import integer_model_path
from espalier.targets.boards import BY_NAME

CALIBRATION_IMAGES = 256
SLOW = 200_000
"""Cycles a frame of the dense design whose parallelism is replaced."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=integer_model_path())
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--interval", type=int, default=20_000)
    parser.add_argument("--density", type=float, default=0.5)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "benchmarks" / "out" / "fpga_gates")
    options = parser.parse_args()
    mod = espalier.from_onnx(options.model)
    gated = with_gates(mod, options.density, options.interval)
    found = {"interval_bar": 1.3, "density": options.density}
    for name, program in (("gated", gated), ("dense", same_without(mod, gated, accelerator(options.model, SLOW)))):
        write(program.graph, options.folder / name)
        found[name] = simulated(program, options.folder / name, options.images)
    found["times_fewer_cycles"] = found["dense"]["interval_cycles"] / found["gated"]["interval_cycles"]
    Console().print(table(found))
    write_record("fpga_gates", found)


def with_gates(mod, density: float, interval: int) -> FpgaProgram:
    """The gated network, made for at most so many cycles."""
    plan = espalier.Plan(density=density)
    images = load_train(CALIBRATION_IMAGES)[0].transpose(0, 3, 1, 2).astype(np.float32)
    target = {"kind": "ext_dev", "device": BOARD, "feature.frames_per_s": BY_NAME[BOARD].clock_hz / interval}
    return espalier.build(mod, target, plan, espalier.calibrate(mod, images, plan)).program


def same_without(mod, gated: FpgaProgram, dense: FpgaProgram) -> FpgaProgram:
    """The dense network with the parallelism of the gated one, stage by stage."""
    network = streamed(lowered(mod, espalier.Plan(), Calibration())).network
    made = {stage.name: stage for stage in gated.graph.stages}
    choices = {
        stage.name: Choice(folding=made[stage.name].folding, products=made[stage.name].products)
        if isinstance(stage, Convolution)
        else Choice(made[stage.name].lanes)
        for stage in network.stages
    }
    return dataclasses.replace(dense, graph=with_fifo_depths(assembled(network, choices)))


def table(found: dict) -> Table:
    """Both designs."""
    shown = Table("", "gated", "the same, dense", title=f"ResNet-8 on an XC7Z020, d = {found['density']}")
    for name in ("interval_cycles", "predicted_interval_cycles", "latency_cycles", "images_bit_exact"):
        shown.add_row(name, *(f"{found[one][name]:,}" for one in ("gated", "dense")))
    shown.add_row("times fewer cycles", f"{found['times_fewer_cycles']:.2f}", "(bar 1.3)")
    return shown


if __name__ == "__main__":
    main()
