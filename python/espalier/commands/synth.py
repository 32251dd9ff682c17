"""`espalier synth`: what synthesis makes of an accelerator."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from espalier.core.errors import InvalidInputError
from espalier.report import tables

from .output import Outcome, rounds

TOOLS = ("yosys", "nextpnr-ecp5", "vitis")


def run(folder: Path, tool: str, stage: str | None, per_stage: bool, limit_s: float) -> Outcome:
    """Synthesize the emitted project in an artifact's folder.

    stage: only this one. per_stage: every stage alone, and the sum. Logs and reports stay below the folder.
    """
    from espalier import api

    if tool not in TOOLS:
        raise InvalidInputError(f"--tool: got {tool!r}, accepted are {', '.join(TOOLS)}")
    program = api.load(folder).program
    if not hasattr(program, "graph"):
        raise InvalidInputError(f"{folder}: was compiled for a CPU, accepted are artifacts for fpga_hls/<board>")
    names = [one.name for one in program.graph.stages]
    if stage is not None and stage not in names:
        raise InvalidInputError(f"--stage: there is no {stage!r}, accepted are {', '.join(names)}")
    make = {"yosys": _yosys, "nextpnr-ecp5": _route, "vitis": _vitis}[tool]
    with rounds(1, tool) as advance:
        outcome = make(folder, program, stage, per_stage, limit_s)
        advance()
    return outcome


def _yosys(folder: Path, program, stage: str | None, per_stage: bool, limit_s: float) -> Outcome:
    from espalier.measure.synthesis import yosys

    family = program.board.family
    if family not in ("xc7", "xcup"):
        raise InvalidInputError(
            f"--tool yosys: counts cells of AMD's parts, not of {program.board.name}; use nextpnr-ecp5"
        )
    yosys.find_yosys()  # before anything is written
    if per_stage:
        parts = yosys.synthesize_stages(folder, family, limit_s=limit_s)
        counts = {
            **{name: one.summary() for name, one in parts.items()},
            "total": yosys.total(parts.values()).summary(),
        }
    else:
        module = yosys.TOP if stage is None else f"stage_{stage}"
        counts = {stage or "accelerator": yosys.synthesize(folder, module, family, limit_s=limit_s).summary()}
    have = program.board.resources
    rows = [(name, *(f"{value:g}" for value in one.values())) for name, one in counts.items()]
    rows.append((program.board.name, *(f"{getattr(have, kind):g}" for kind in next(iter(counts.values())))))
    table = tables.plain_table(("stage", ">LUTs", ">flip-flops", ">DSPs", ">blocks of 36 kbit"), rows)
    said = f"Yosys, {yosys.LABEL}; logs in {folder / 'synthesis'}"
    return Outcome(
        {"tool": "yosys", "label": yosys.LABEL, "board": program.board.name, "counts": counts}, (table, said)
    )


def _route(folder: Path, program, stage: str | None, per_stage: bool, limit_s: float) -> Outcome:
    from espalier.measure.synthesis import nextpnr

    names = [one.name for one in program.graph.stages] if per_stage else [stage]
    routed = {}
    for name in names:
        module = "accelerator" if name is None else f"stage_{name}"
        found = nextpnr.place_and_route(folder, module, clock_hz=program.board.clock_hz, limit_s=limit_s)
        routed[name or "accelerator"] = dataclasses.asdict(found)
    rows = [(name, f"{one['clock_hz'] / 1e6:.1f} MHz", _used(one)) for name, one in routed.items()]
    table = tables.plain_table(("stage", ">fastest clock", "cells"), rows)
    return Outcome({"tool": "nextpnr-ecp5", "routed": routed}, (table, f"nextpnr, {nextpnr.LABEL}"))


def _used(routed: dict) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in routed["used"].items() if count)


def _vitis(folder: Path, program, stage: str | None, per_stage: bool, limit_s: float) -> Outcome:
    from espalier.measure.synthesis import vitis

    found = dataclasses.asdict(vitis.synthesize(folder, limit_s=limit_s))
    rows = [(kind, str(count), str(found["available"].get(kind, ""))) for kind, count in found["used"].items()]
    return Outcome(
        {"tool": "vitis", **found}, (tables.plain_table(("resource", ">used", ">available"), rows), found["label"])
    )
