"""`espalier targets`: what this machine can compile for and run."""

from __future__ import annotations

import os

from espalier.report import tables

from .output import Outcome


def run() -> Outcome:
    """One row for each target."""
    from espalier.targets.cpu import cpu_target, host_cpu, isa_of

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
    return Outcome({"targets": [here]}, (tables.plain_table(headings, [row]), other))
