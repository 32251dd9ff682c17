"""What does MobileNet-V1 at 224x224 take as one accelerator on an Alveo U250, at one input pixel a clock?

All weights on the chip, uniform<8>, folded for 50,176 cycles a frame: at 156 MHz the 3,109 frames a second that Tomato
reports (Zhao et al., FPT 2019, arXiv 1910.10075). Weights and images are random (`support/mobilenet_stages.py`).

    designs   interval, latency and resources by the models, of this design, of one with shifts in the pointwise layers
              as Tomato mixes them, and of faster ones, whose first layer takes several pixels in a cycle
    cpp       the emitted C++ of the whole network under g++, in integers of 32 bits, against the integer network
    rtl       each distinct stage alone with the adapters before it, whole feature maps, in Verilator: numbers against
              what the integer network has there, cycles against the predicted ones
    pixels    the same, of the stages that take several pixels in a cycle where the network is twice as fast
    cells     the stages of at most --products multipliers, counted by Yosys (xcup); the error of the models on them
    xc7       the same, counted as on an XC7Z020, which the models were fitted to: there Yosys puts the registers of a
              multiplier into its DSP48E1, here it leaves them outside of a DSP48E2

    python benchmarks/bench_fpga_mobilenet.py [--parts designs cpp rtl pixels cells xc7] [--images 2] [--products 1024]

Rows that the record has of the same emitted files are not measured again, so that a run can be stopped and gone on
with. The row "total" adds up what was counted and, for the other stages, what the models say.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from support import REPOSITORY
from support.accelerators import emulated, hardware_digest
from support.mobilenet_stages import BOARD, accelerator, behind_the_first, chain, computed, images, parts, with_shifts
from support.records import merged_rows, write_record

import espalier
from espalier.codegen.fpga_hls.cost.cycles import interval_cycles
from espalier.codegen.fpga_hls.cost.resources import resources
from espalier.codegen.fpga_hls.folding import Design, fold
from espalier.codegen.fpga_hls.graph import StreamGraph
from espalier.codegen.fpga_hls.network import StageNetwork
from espalier.codegen.fpga_hls.program import FpgaProgram
from espalier.codegen.fpga_hls.rtl.beats import beats_of, tensor_of
from espalier.codegen.fpga_hls.rtl.emit import data_bits, emit, stage_module
from espalier.codegen.fpga_hls.stages import Convolution, Stage, reads_pixels
from espalier.codegen.fpga_hls.timing import latency_cycles, schedule
from espalier.core.errors import InfeasibleDesignError
from espalier.core.files import write_files
from espalier.measure.fpga.rtl_simulation import build_rtl
from espalier.measure.synthesis.yosys import synthesize
from espalier.targets.boards import BY_NAME

RECORD, KEYS = "fpga_mobilenet", ("part", "name")
CLOCK_HZ, INTERVAL, TOMATO_FRAMES_PER_S = 156e6, 224 * 224, 3109
RESOURCES = ("luts", "ffs", "dsps", "bram_36k")
LIMIT_S = 7200
"""Of one run of a tool."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--products", type=int, default=1024)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "benchmarks" / "out" / "fpga_mobilenet")
    options = parser.parse_args()
    espalier.set_threads(1)
    program = accelerator(options.folder / "accelerator", CLOCK_HZ, INTERVAL)
    for part in options.parts:
        for row in PARTS[part](program, options):
            write_record(RECORD, merged_rows(RECORD, [row], KEYS))
    write_record(RECORD, merged_rows(RECORD, totals(program), KEYS))
    rows = merged_rows(RECORD, [], KEYS)
    for table in (designs_table(rows), stages_table(rows)):
        Console().print(table)


def designs(program: FpgaProgram, _options) -> Iterator[dict]:
    """Rows of designs, by the models: this one, and what others would take."""
    network = chain(program.graph)
    yield described_design("int8", INTERVAL, Design(program.graph, program.schedule.interval_cycles, program.resources))
    yield designed("int8, twice as fast", network, INTERVAL // 2)
    shifts = with_shifts(network)
    yield designed("int8, without the first layer, 2x", behind_the_first(network), INTERVAL // 2)
    yield designed("shift<4> in pointwise layers", shifts, INTERVAL)
    yield designed("shift<4> in pointwise layers, twice as fast", shifts, INTERVAL // 2)
    yield designed("shift<4> in pointwise layers, without the first layer, 4x", behind_the_first(shifts), INTERVAL // 4)
    yield designed("int8, without the first layer, 4x", behind_the_first(network), INTERVAL // 4)


def designed(name: str, network: StageNetwork, interval: int) -> dict:
    """A row: the smallest design of this interval, or why there is none."""
    board = dataclasses.replace(BY_NAME[BOARD], clock_hz=CLOCK_HZ)
    try:
        return described_design(name, interval, fold(network, board, CLOCK_HZ / interval))
    except InfeasibleDesignError as error:
        return {"part": "designs", "name": name, "asked_interval_cycles": interval, "refused": str(error)}


def described_design(name: str, interval: int, design: Design) -> dict:
    """A row of a design that fits."""
    convolutions = design.graph.convolutions()
    return {
        "part": "designs",
        "name": name,
        "asked_interval_cycles": interval,
        "interval_cycles": design.interval_cycles,
        "latency_cycles": latency_cycles(design.graph),
        "frames_per_s_at_156_mhz": round(CLOCK_HZ / design.interval_cycles, 1),
        "pixels_in_a_beat": max(stage.pixels for stage in convolutions),
        "products_per_cycle": sum(stage.products_per_cycle for stage in convolutions),
        "needed_products_per_cycle": round(sum(stage.macs for stage in convolutions) / interval),
        "estimated": rounded(design.resources),
        "board": dataclasses.asdict(BY_NAME[BOARD].resources),
    }


def cpp(program: FpgaProgram, options) -> Iterator[dict]:
    """One row: the emitted C++ of the whole network."""
    row = {"part": "cpp", "name": "whole network", "images": options.images, "digest": program.digest()}
    if is_known(row):
        return
    yield {**row, **emulated(program, images(options.images, seed=1), exact_widths=False)}


def rtl(program: FpgaProgram, options) -> Iterator[dict]:
    """A row for each distinct stage."""
    tensors = None
    for stage, graph in ordered("rtl", distinct(program.graph)):
        row = {"part": "rtl", "name": stage.name, "images": options.images, "hardware": hardware_digest(graph)}
        if not is_known(row):
            tensors = tensors or between_stages(program, options.images)
            yield {**row, **described(stage), **simulated(graph, tensors[stage.name])}


def pixels(program: FpgaProgram, options) -> Iterator[dict]:
    """A row for each stage with several pixels in a beat; these come first in the network."""
    pairs = [program.vectors([image[None]])[:1] * 2 for image in images(options.images, seed=1)]
    board = dataclasses.replace(BY_NAME[BOARD], clock_hz=CLOCK_HZ)
    for stage, graph in parts(fold(chain(program.graph), board, 2 * CLOCK_HZ / INTERVAL).graph):
        if not reads_pixels(stage):
            return
        pairs = [(x, computed(stage, x)) for _, x in pairs]
        row = {"part": "rtl", "name": f"{stage.name}, {stage.pixels} pixels in a beat"}
        row |= {"images": options.images, "hardware": hardware_digest(graph)}
        if not is_known(row):
            yield {**row, **described(stage), **simulated(graph, pairs)}


def simulated(graph: StreamGraph, pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict:
    """Cycles of a part of the design, and whether it gave the right numbers."""
    last, predicted = graph.output, schedule(graph)
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), emit(graph))
        run = build_rtl(Path(folder), LIMIT_S).run(
            [beats_of(x, graph.input.lanes) for x, _ in pairs], data_bits(graph.input), limit_s=LIMIT_S
        )
    answers = [tensor_of(beats, last.shape, last.lanes, last.bits) for beats in run.outputs]
    return {
        "images_bit_exact": sum(np.array_equal(got, y) for got, (_, y) in zip(answers, pairs, strict=True)),
        "interval_cycles": run.interval_cycles,
        "predicted_interval_cycles": predicted.interval_cycles,
        "latency_cycles": run.latency_cycles,
        "predicted_latency_cycles": latency_cycles(graph),
    }


def between_stages(program: FpgaProgram, count: int) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """For each stage its input and output for each image, stage after stage in numpy.

    What comes out in the end is asserted to be what the integer network gives.
    """
    found: dict[str, list] = {}
    for image in images(count, seed=1):
        x, expected = program.vectors([image[None]])
        for stage in chain(program.graph).stages:
            y = computed(stage, x)
            found.setdefault(stage.name, []).append((x, y))
            x = y
        assert np.array_equal(x, expected), "the stages are not the integer network"
    return found


def cells(part: str, family: str, program: FpgaProgram, options) -> Iterator[dict]:
    """A row of this part for each distinct stage that is small enough, counted as of a family."""
    small = [one for one in distinct(program.graph) if products(one[0]) <= options.products]
    for stage, graph in ordered(part, small):
        row = {"part": part, "name": stage.name, "hardware": hardware_digest(graph)}
        if is_known(row):
            continue
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), emit(graph))
            counted = synthesize(Path(folder), stage_module(stage), family, limit_s=LIMIT_S)
        yield {**row, **described(stage), "label": counted.label, "counted": counted.summary()}


def totals(program: FpgaProgram) -> list[dict]:
    """Rows of resources of all stages: as this part's cells, and as those of an XC7Z020."""
    stages = chain(program.graph).stages
    emitted = {likeness(stage): hardware_digest(graph) for stage, graph in distinct(program.graph)}
    digests = [emitted[likeness(stage)] for stage in stages]
    labels = {"cells": "resources", "xc7": "resources as on an XC7Z020"}
    return [total(program, list(zip(stages, digests)), part, label) for part, label in labels.items()]


def total(program: FpgaProgram, emitted: list[tuple[Stage, str]], part: str, label: str) -> dict:
    """Resources of all stages: of one like it that was counted, as it is emitted now, else by the models; and the error
    of these. emitted: each stage and the digest of one like it. part: of the rows that were counted."""
    rows = {row.get("hardware"): row["counted"] for row in merged_rows(RECORD, [], KEYS) if row["part"] == part}
    counts = [(resources(stage), rows.get(digest)) for stage, digest in emitted]
    known = [(guessed, counted) for guessed, counted in counts if counted]
    row = {"part": "total", "name": label, "stages": len(emitted), "stages_counted": len(known)}
    for name in RESOURCES if known else ():
        guessed, counted = [getattr(one, name) for one, _ in known], [one[name] for _, one in known]
        whole = getattr(program.resources, name)
        errors = [100 * (guess - count) / count for guess, count in zip(guessed, counted) if count]
        row[name] = {
            "total": round(whole - sum(guessed) + sum(counted), 1),
            "by_the_models": round(whole, 1),
            "of_which_counted": sum(counted),
            "estimated_for_the_counted": round(sum(guessed), 1),
            "error_percent": [round(float(one), 1) for one in np.quantile(errors, (0, 0.5, 1))] if errors else None,
        }
    return row


PARTS: dict[str, Callable] = {
    "designs": designs,
    "cpp": cpp,
    "rtl": rtl,
    "pixels": pixels,
    "cells": functools.partial(cells, "cells", BY_NAME[BOARD].family),
    "xc7": functools.partial(cells, "xc7", "xc7"),
}


def ordered(part: str, stages: list[tuple[Stage, StreamGraph]]) -> list[tuple[Stage, StreamGraph]]:
    """First the stages that a part of the record lacks altogether, of these the smallest first."""
    known = {row["name"] for row in merged_rows(RECORD, [], KEYS) if row["part"] == part}
    return sorted(stages, key=lambda one: (one[0].name in known, products(one[0])))


def is_known(row: dict) -> bool:
    """Whether the record has a row of these values."""
    return any(row.items() <= known.items() for known in merged_rows(RECORD, [], KEYS))


def distinct(graph: StreamGraph) -> list[tuple[Stage, StreamGraph]]:
    """The first part of each kind, shape and folding."""
    found = {}
    for stage, part in parts(graph):
        found.setdefault(likeness(stage), (stage, part))
    return list(found.values())


def likeness(stage: Stage) -> tuple:
    """Equal for stages that differ in their numbers only."""
    more = (stage.kind, stage.folding, stage.products) if isinstance(stage, Convolution) else ()
    return (type(stage).__name__, stage.in_shape, stage.out_shape, *more)


def products(stage: Stage) -> int:
    """Multipliers of a stage."""
    return stage.products_per_cycle if isinstance(stage, Convolution) else 0


def described(stage: Stage) -> dict:
    """What a stage is."""
    fold = dataclasses.asdict(stage.folding) if isinstance(stage, Convolution) else {}
    kind = getattr(stage, "kind", type(stage).__name__)
    sizes = {"kind": kind, "in_shape": stage.in_shape, "out_shape": stage.out_shape, "folding": fold}
    return {**sizes, "products": products(stage), "cycles": interval_cycles(stage)}


def rounded(one) -> dict:
    """Resources by name."""
    return {name: round(value, 1) for name, value in dataclasses.asdict(one).items()}


def designs_table(rows: list[dict]) -> Table:
    """Every design by the models, or why it is refused."""
    shown = Table(
        *("design", "cycles a frame", "frames/s at 156 MHz", "products a cycle", "LUTs", "DSPs", "blocks of 36 kbit"),
        title=f"MobileNet-V1, 224x224, on an Alveo U250, by the models; Tomato: {TOMATO_FRAMES_PER_S:,} frames/s",
    )
    for row in (row for row in rows if row["part"] == "designs"):
        if "refused" in row:
            shown.add_row(row["name"], f"{row['asked_interval_cycles']:,}: refused, see the record")
            continue
        figures = (row["interval_cycles"], row["frames_per_s_at_156_mhz"], row["products_per_cycle"])
        used = (f"{row['estimated'][name]:,.0f} of {row['board'][name]:,}" for name in ("luts", "dsps", "bram_36k"))
        shown.add_row(row["name"], *(f"{figure:,}" for figure in figures), *used)
    return shown


def stages_table(rows: list[dict]) -> Table:
    """Every stage that was simulated or synthesized."""
    heads = ("stage", "products", "images bit-exact", "interval", "predicted", "latency", "predicted", "LUTs", "DSPs")
    shown = Table(*heads, "blocks of 36 kbit")
    counted = {row["name"]: row["counted"] for row in rows if row["part"] == "cells"}
    for row in (row for row in rows if row["part"] == "rtl"):
        cycles = (
            "interval_cycles",
            "predicted_interval_cycles",
            "latency_cycles",
            "predicted_latency_cycles",
        )
        cell = counted.get(row["name"], {})
        shown.add_row(
            f"{row['kind']} {row['in_shape']} to {row['out_shape']}",
            str(row["products"]),
            f"{row['images_bit_exact']} of {row['images']}",
            *(f"{row[name]:,}" for name in cycles),
            *(f"{cell[name]:,}" if cell else "" for name in ("luts", "dsps", "bram_36k")),
        )
    return shown


if __name__ == "__main__":
    main()
