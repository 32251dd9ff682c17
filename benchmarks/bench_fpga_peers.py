"""What does a small network cost on an XC7Z020 as hls4ml, da4ml and Espalier make it, and do they compute the same?

Three convolutions and a dense layer on handwritten digits of 8x8 pixels, u8 and s8 with scales that are powers of two
(`support/digits.py`), so that all of them can give the same integers. Ours is the fastest design for a PYNQ-Z2, and a
slow one. da4ml unrolls everything and takes an image a cycle; one synthesizer, Yosys, counts its cells and ours. hls4ml
has no cells here: its C++ needs a vendor's compiler. The SystemVerilog and the Verilog run in Icarus, hls4ml's C++
under g++.

    python benchmarks/bench_fpga_peers.py [--only da4ml] [--images 360] [--rtl-images 20] [--no-synthesis]

The record keeps what it has of designs that --only leaves out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from rich.console import Console
from rich.table import Table
from support import digits
from support.fpga_peers import TOP, Da4mlProject, da4ml_logic, hls4ml_answers
from support.records import merged_rows, write_record

import espalier
from espalier.codegen.fpga_hls.rtl.beats import beats_of, tensor_of
from espalier.codegen.fpga_hls.rtl.emit import data_bits
from espalier.core.files import write_files
from espalier.measure.fpga.rtl_simulation import build_icarus
from espalier.measure.synthesis.yosys import TOP as OUR_TOP
from espalier.measure.synthesis.yosys import synthesize
from espalier.targets.boards import BY_NAME

RECORD = "fpga_peers"
BOARD = "pynq-z2"
Counter = Callable[[Path, str], dict]
SLOW_CYCLES = 2_000
"""Of an image, in the slow one of our designs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=DESIGNS, default=list(DESIGNS))
    parser.add_argument("--images", type=int, default=digits.TEST_IMAGES)
    parser.add_argument("--rtl-images", type=int, default=20)
    parser.add_argument("--synthesis", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    counted = cells if options.synthesis else lambda *_: {}
    codes, labels = digits.images()
    layers = digits.quantized(digits.trained(), codes[: -digits.TEST_IMAGES])
    codes, labels = (one[-digits.TEST_IMAGES :][: options.images] for one in (codes, labels))
    top1 = round(100 * float(np.mean(digits.answers(layers, codes).argmax(1) == labels)), 2)
    for name in options.only:
        found = DESIGNS[name](layers, codes if name == "hls4ml" else codes[: options.rtl_images], counted)
        rows = merged_rows(RECORD, [{"design": name, "macs": macs(layers), "top1": top1, **found}], ("design",))
        write_record(RECORD, rows)
    Console().print(table(rows))


def cells(folder: Path, module: str) -> dict:
    """What Yosys counts in a whole design."""
    return {"cells": synthesize(folder, module).summary()}


def ours(layers: list[digits.Layer], codes: np.ndarray, counted: Counter, interval: int | None) -> dict:
    """Simulated and synthesized; interval: cycles of an image, or the fewest that fit."""
    target = {"kind": "ext_dev", "device": BOARD}
    if interval is not None:
        target["feature.frames_per_s"] = BY_NAME[BOARD].clock_hz / interval
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "digits.onnx"
        onnx.save(digits.to_onnx(layers), path)
        program = espalier.build(espalier.from_onnx(path), target).program
        write_files(Path(name), program.projects())
        graph = program.graph
        frames = [beats_of(one.transpose(1, 2, 0), graph.input.lanes) for one in codes]
        run = build_icarus(Path(name)).run(frames, data_bits(graph.input), limit_s=3600)
        out = graph.output
        found = np.stack([tensor_of(one, out.shape, out.lanes, out.bits).ravel() for one in run.outputs])
        found = found.astype(np.int64) - graph.stage(out.source).arithmetic.zero
        return {
            "interval_cycles": run.interval_cycles,
            "latency_cycles": run.latency_cycles,
            **counted(Path(name), OUR_TOP),
            **agreement(found, layers, codes),
        }


def da4ml(layers: list[digits.Layer], codes: np.ndarray, counted: Counter) -> dict:
    """The same of da4ml's Verilog."""
    with tempfile.TemporaryDirectory() as folder:
        logic = da4ml_logic(layers)
        project = Da4mlProject.written(logic, Path(folder))
        return {
            "version": version("da4ml"),
            "interval_cycles": 1,
            "latency_cycles": project.latency_cycles,
            "own_estimate_luts": round(logic.cost),
            **counted(Path(folder), TOP),
            **agreement(project.simulated(codes), layers, codes),
        }


def agreement(found: np.ndarray, layers: list[digits.Layer], codes: np.ndarray) -> dict:
    """Of logits [N, 10] with the integer network's."""
    expected, ties_up = digits.answers(layers, codes), digits.answers(layers, codes, ties_up=True)
    return {
        "images_compared": len(codes),
        "numbers_equal": float(np.mean(found == expected)),
        "numbers_equal_with_ties_up": float(np.mean(found == ties_up)),
        "same_answers": int((found.argmax(1) == expected.argmax(1)).sum()),
    }


def hls4ml(layers: list[digits.Layer], codes: np.ndarray, counted: Counter) -> dict:
    """What its C simulation says; there is nothing to count."""
    with tempfile.TemporaryDirectory() as folder:
        return {"version": version("hls4ml"), **agreement(hls4ml_answers(layers, codes, Path(folder)), layers, codes)}


def macs(layers: list[digits.Layer]) -> int:
    """Products of an image."""
    size, found = digits.SHAPE[1], 0
    for layer in layers:
        size = (size + 2 * layer.padding - layer.weights.shape[2]) // layer.stride + 1
        found += size * size * layer.weights.size
    return found


DESIGNS = {
    "espalier-fastest": partial(ours, interval=None),
    "espalier-small": partial(ours, interval=SLOW_CYCLES),
    "da4ml": da4ml,
    "hls4ml": hls4ml,
}


def table(rows: list[dict]) -> Table:
    """Side by side."""
    resources = ("luts", "ffs", "dsps", "bram_36k")
    shown = Table(
        *("", "cycles an image", "latency", *resources, "same answers", "numbers equal, %"),
        title="A network on 8x8 digits, XC7Z020, Yosys",
    )
    for row in rows:
        cycles = [f"{row[key]:,}" if key in row else "needs Vitis" for key in ("interval_cycles", "latency_cycles")]
        cells = [f"{row['cells'][key]:,}" if "cells" in row else "" for key in resources]
        same = f"{row['same_answers']} of {row['images_compared']}"
        shown.add_row(row["design"], *cycles, *cells, same, f"{100 * row['numbers_equal']:.1f}")
    return shown


if __name__ == "__main__":
    main()
