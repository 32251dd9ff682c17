"""Emitted SystemVerilog in tests: written into folders, simulated, and compared number by number."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from oracles.stream_graphs import meaning

from espalier.codegen.fpga_hls.graph import StreamGraph
from espalier.codegen.fpga_hls.rtl.beats import beats_of, tensor_of
from espalier.codegen.fpga_hls.rtl.emit import data_bits, emit
from espalier.core.files import write_files
from espalier.measure.fpga.rtl_simulation import RtlProgram, RtlSimulation

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog")
needs_verilator = pytest.mark.skipif(shutil.which("verilator") is None, reason="needs verilator")


def written(graph: StreamGraph, folder: Path, packs: bool = True) -> Path:
    """The folder, with the project of a graph in it."""
    write_files(folder, emit(graph, packs))
    return folder


def simulated(graph: StreamGraph, program: RtlProgram, frames: int = 2, stalls: int = 0) -> RtlSimulation:
    """The simulation of random images; asserts that it gives the oracle's numbers."""
    x = np.random.default_rng(1).integers(0, 256, (frames, *graph.input.shape)).astype(np.uint8)
    return gives(graph, program, x, meaning(graph, x), stalls)


def gives(
    graph: StreamGraph, program: RtlProgram, x: np.ndarray, expected: np.ndarray, stalls: int = 0
) -> RtlSimulation:
    """The simulation of images uint8 [N, H, W, C]; asserts that it gives what is expected, [N, H, W, C]."""
    frames, out = [beats_of(image, graph.input.lanes) for image in x], graph.output
    found = program.run(frames, data_bits(graph.input), stalls, patience=3000, limit_s=300)
    y = np.stack([tensor_of(beats, out.shape, out.lanes, out.bits) for beats in found.outputs])
    np.testing.assert_array_equal(y, expected)
    return found
