"""What does the accelerator of MLPerf Tiny's ResNet-8 (int8) do, and what does it cost on an XC7Z020?

A quantized network, by default that of the reference weights (bundled), becomes SystemVerilog for a PYNQ-Z2. Simulated
by Verilator on CIFAR-10's test images, its answers must be those of the integer network, bit for bit; the interval
between images and the latency are cycles of that simulation. Top-1 is the integer network's on all 10,000 test images.
Cells are counted by Yosys, stage by stage, and added up: post-synthesis, not placed. The bars: 40,000 cycles between
images, 20,000 with mixed arithmetic, 3 % above what the slowest stage's products take; 86.0 % top-1; 53,200 LUTs,
220 DSPs and 140 blocks of 36 kbit. Published: fpgaConvNet in MLPerf Tiny v1.1, the best on that chip,
about 58,800 cycles with 47 K LUTs and 211 DSPs at 86.0 %.

    python benchmarks/bench_fpga.py [--images 20] [--interval 40000] [--name dense] [--folder out/fpga] [--no-synthesis]
    python benchmarks/bench_fpga.py --model benchmarks/checkpoints/resnet8-mixed.pt --interval 20000 --name mixed

What was synthesized before in the folder, from the same files, is not synthesized again. --no-simulation leaves what
the record says of accuracy and cycles, --no-synthesis what it says of cells, if they are of the same SystemVerilog
("hardware": its digest). Dynamic power is an estimate: what switches on these images times published energies
(`measure.fpga.power`), with as many resources as the models say.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from support import REPOSITORY
from support.accelerators import BOARD, Source, hardware_digest, top1
from support.cifar10 import load_test
from support.records import FOLDER, write_record

from espalier.codegen.fpga_hls.rtl.beats import beats_of, tensor_of
from espalier.codegen.fpga_hls.rtl.emit import data_bits, emit
from espalier.core.files import write_files
from espalier.frontend.bundled import integer_model_path
from espalier.measure.fpga.power import estimated_power
from espalier.measure.fpga.rtl_simulation import build_rtl
from espalier.measure.synthesis.yosys import BENCHES, TOP, CellCounts, read_counts, synthesize, total
from espalier.targets.boards import BY_NAME

RECORD = "fpga"
OF_SYNTHESIS = ("label", "cells", "total", "board")
PEER = {"interval_cycles": 58_800, "luts": 47_000, "dsps": 211, "top1": 86.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=integer_model_path())
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--interval", type=int, default=40_000)
    parser.add_argument("--name", default="dense")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "benchmarks" / "out" / "fpga")
    parser.add_argument("--synthesis", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--simulation", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    source = Source.of(options.model)
    program, folder = source.program(options.interval), options.folder / options.name
    hardware = hardware_digest(program.graph)
    write(program.graph, folder)
    if options.simulation:
        images, labels = load_test()
        x = source.inputs(images)
        found = {"model": options.model.name, "interval_bar": options.interval, "hardware": hardware}
        found["top1"] = top1(program, x, labels)
        found |= simulated(program, folder, x[: options.images])
    else:
        found = recorded(options.name, hardware)
    if options.synthesis:
        found |= synthesized(program.graph, folder)
    else:
        found |= recorded_cells(options.name, hardware)
    write_record(RECORD, {**results(), options.name: found, "peer": PEER})
    Console().print(table(found))


def results(record: str = RECORD) -> dict:
    """Of a record, by name; none where there is none."""
    path = FOLDER / f"{record}.json"
    return json.loads(path.read_text())["results"] if path.is_file() else {}


def recorded(name: str, hardware: str) -> dict:
    """What the record says of a design; SystemExit if it was another one."""
    found = results().get(name, {})
    if found.get("hardware") != hardware:
        raise SystemExit(f"{name}: the record has no such design, simulate it first")
    return found


def recorded_cells(name: str, hardware: str, record: str = RECORD) -> dict:
    """What a record says of a design's cells; nothing if it was another one."""
    found = results(record).get(name, {})
    if found.get("hardware") != hardware:
        return {}
    return {part: found[part] for part in OF_SYNTHESIS if part in found}


def write(graph, folder: Path) -> None:
    """The emitted project."""
    write_files(folder, emit(graph))


def simulated(program, folder: Path, x: np.ndarray) -> dict:
    """Cycles of the simulated design, and whether it gave the integer network's numbers for the images x."""
    graph, pairs = program.graph, [program.vectors([image[None]]) for image in x]
    frames = [beats_of(given, graph.input.lanes) for given, _ in pairs]
    run = build_rtl(folder, limit_s=3600, counts_switching=True).run(frames, data_bits(graph.input), limit_s=3600)
    out = graph.output
    answers = [tensor_of(beats, out.shape, out.lanes, out.bits) for beats in run.outputs]
    equal = sum(np.array_equal(got, expected) for got, (_, expected) in zip(answers, pairs, strict=True))
    slowest = max(graph.convolutions(), key=lambda stage: stage.compute_cycles)
    power = estimated_power(program, run)
    return {
        "images": len(x),
        "images_bit_exact": equal,
        "interval_cycles": run.interval_cycles,
        "latency_cycles": run.latency_cycles,
        "predicted_interval_cycles": program.schedule.interval_cycles,
        "predicted_latency_cycles": program.latency_cycles,
        "slowest_stage": slowest.name,
        "slowest_stage_cycles": slowest.compute_cycles,
        "products_per_cycle": sum(stage.products_per_cycle for stage in graph.convolutions()),
        "estimated_dynamic_power_w": sum(one.total_w for one in power.values()),
        "power": {name: dataclasses.asdict(one) for name, one in power.items()},
        "stages": {name: dataclasses.asdict(activity) for name, activity in run.stages.items()},
        "fifos": {name: dataclasses.asdict(use) for name, use in run.fifos.items()},
    }


def synthesized(graph, folder: Path) -> dict:
    """Cells of every stage and of the FIFOs between them, and their sum."""
    names = [f"stage_{stage.name}" for stage in graph.stages]
    counts = {name.removeprefix("stage_"): _counted(folder, name) for name in names}
    streams = _counted(folder, TOP, tuple(names)).cells
    counts["streams"] = CellCounts({cell: count for cell, count in streams.items() if cell not in names})
    have = BY_NAME[BOARD].resources
    return {
        "label": total(counts.values()).label,
        "cells": {name: one.summary() for name, one in counts.items()},
        "total": total(counts.values()).summary(),
        "board": {"luts": have.luts, "ffs": have.ffs, "dsps": have.dsps, "bram_36k": have.bram_36k},
    }


def _counted(folder: Path, module: str, apart: tuple[str, ...] = ()) -> CellCounts:
    sha = hashlib.sha256()
    others = {f"{name}.sv" for name in (path.stem for path in (folder / "rtl").glob("stage_*.sv")) if name != module}
    skipped = {*BENCHES, *(() if apart else (*others, f"{TOP}.sv"))} - {"stage_statistics.sv"}
    for path in sorted((folder / "rtl").glob("*")):
        is_foreign = path.suffix == ".mem" and not path.name.startswith(f"{module.removeprefix('stage_')}_")
        if path.name not in skipped and not is_foreign:
            sha.update(path.name.encode() + path.read_bytes())
    mark, found = folder / "synthesis" / f"{module}.sha256", folder / "synthesis" / f"{module}.json"
    if mark.is_file() and found.is_file() and mark.read_text() == sha.hexdigest():
        return read_counts(found.read_text(), module)
    counts = synthesize(folder, module, apart=apart)
    mark.write_text(sha.hexdigest())
    return counts


def table(found: dict) -> Table:
    """Ours beside the bar and the published design."""
    shown = Table(
        "", "Espalier", "bar", "fpgaConvNet, MLPerf Tiny v1.1", title="ResNet-8, CIFAR-10, int8 on an XC7Z020"
    )
    shown.add_row("cycles between images", f"{found['interval_cycles']:,}", f"{found['interval_bar']:,}", "58,800")
    shown.add_row("latency, cycles", f"{found['latency_cycles']:,}", "", "")
    shown.add_row("top-1, %", f"{found['top1']:.2f}", "86.0", "86.0")
    if "estimated_dynamic_power_w" in found:
        shown.add_row("dynamic power, W, an estimate", f"{found['estimated_dynamic_power_w']:.2f}", "", "")
    shown.add_row("images bit-exact", f"{found['images_bit_exact']} of {found['images']}", "all", "")
    for name, peer in (("luts", "47,000"), ("dsps", "211"), ("ffs", ""), ("bram_36k", "")):
        if "total" in found:
            shown.add_row(name, f"{found['total'][name]:,}", f"{found['board'][name]:,}", peer)
    return shown


if __name__ == "__main__":
    main()
