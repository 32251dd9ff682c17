"""`espalier targets`: what this machine can compile for and run."""

from __future__ import annotations

import dataclasses
import os

import tvm

from espalier.report import tables
from espalier.targets.boards import BOARDS, PREFIX
from espalier.targets.cpu import cpu_target, host_cpu, isa_of
from espalier.targets.gpu import GPUS

from .output import Outcome


def run() -> Outcome:
    """One row for each target."""
    isa = isa_of(cpu_target({"kind": "llvm"}))
    here = {
        "target": "llvm",
        "device": host_cpu(),
        "isa": isa.name,
        "float32_lanes": isa.lanes,
        "vector_registers": isa.registers,
        "logical_cores": os.cpu_count() or 1,
        "runs_here": True,
    }
    headings = ("target", "device", "instructions", ">float32 lanes", ">registers", ">cores", "runs here")
    row = [*list(here.values())[:-1], "yes"]
    other = """For another CPU: espalier compile --target '{"kind": "llvm", "mcpu": "znver4"}'"""
    gpus, present = [dataclasses.asdict(gpu) for gpu in GPUS], tvm.cuda(0).exist
    boards = [dataclasses.asdict(board) for board in BOARDS]
    data = {"targets": [here], "gpus": gpus, "gpu_is_present": present, "boards": boards}
    note = f"This machine has {'a' if present else 'no'} GPU; compiling needs none, only nvcc or NVRTC."
    return Outcome(data, (tables.plain_table(headings, [row]), other, _gpu_table(), note, _board_table()))


def _gpu_table():
    """The GPUs that are known, with their figures; others are compiled for by their architecture."""
    headings = ("target", "arch", "figures of", ">SMs", ">shared/SM", ">GB/s", ">float16 TFLOP/s", "kernels")
    rows = [
        (
            gpu.names[-1],
            gpu.arch,
            gpu.device,
            gpu.sms,
            tables.space(gpu.shared_bytes),
            f"{gpu.bandwidth_bytes_s / 1e9:.0f}",
            f"{gpu.peak_macs_s('float16') * 2e-12:.0f}",
            ", ".join(gpu.formats),
        )
        for gpu in GPUS
    ]
    return tables.plain_table(headings, rows)


def _board_table():
    """The FPGA boards, and what fits on each."""
    headings = ("target", "part", ">LUTs", ">DSPs", ">blocks of 36 kbit", ">MHz")
    rows = []
    for board in BOARDS:
        have = board.resources
        counts = (f"{count:.0f}" for count in (have.luts, have.dsps, have.bram_36k, board.clock_hz / 1e6))
        rows.append((f"{PREFIX}/{board.name}", board.part, *counts))
    return tables.plain_table(headings, rows)
