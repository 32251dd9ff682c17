"""`espalier synth`: what synthesis makes of an accelerator."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from espalier.core.errors import InvalidInputError
from espalier.report import tables

from .output import Outcome, rounds

TOOLS = ("yosys", "nextpnr-ecp5", "vitis")
AMD = ("xc7", "xcup")
"""Families of boards whose cells Yosys counts."""


def run(folder: Path, tool: str, stage: str | None, per_stage: bool, jobs: int, limit_s: float) -> Outcome:
    """Synthesize the emitted project in an artifact's folder.

    stage: only this one. per_stage: every stage alone, and the sum. jobs: stages at the same time.
    Logs and reports stay below the folder.
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
        outcome = make(folder, program, stage, per_stage, jobs, limit_s)
        advance()
    return outcome


def _yosys(folder: Path, program, stage: str | None, per_stage: bool, jobs: int, limit_s: float) -> Outcome:
    from espalier.measure.synthesis import yosys

    family = program.board.family
    if family not in AMD:
        raise InvalidInputError(
            f"--tool yosys: counts cells of AMD's parts, not of {program.board.name}; use nextpnr-ecp5"
        )
    yosys.find_yosys()  # before anything is written
    if per_stage:
        parts = yosys.synthesize_stages(folder, family, jobs, limit_s)
        counts = {
            **{name: one.summary() for name, one in parts.items()},
            "total": yosys.total(parts.values()).summary(),
        }
    else:
        counts = {stage or "accelerator": yosys.synthesize(folder, _module(stage), family, limit_s=limit_s).summary()}
    have = program.board.resources
    rows = [(name, *(f"{value:g}" for value in one.values())) for name, one in counts.items()]
    rows.append((program.board.name, *(f"{getattr(have, kind):g}" for kind in next(iter(counts.values())))))
    table = tables.plain_table(("stage", ">LUTs", ">flip-flops", ">DSPs", ">blocks of 36 kbit"), rows)
    said = f"Yosys, {yosys.LABEL}; logs in {folder / 'synthesis'}"
    return Outcome(
        {"tool": "yosys", "label": yosys.LABEL, "board": program.board.name, "counts": counts}, (table, said)
    )


def _route(folder: Path, program, stage: str | None, per_stage: bool, jobs: int, limit_s: float) -> Outcome:
    from espalier.measure.synthesis import nextpnr

    board = program.board
    if board.family in AMD:
        raise InvalidInputError(f"--tool nextpnr-ecp5: routes for an ECP5, not for {board.name}; use yosys or vitis")

    def routed(name: str | None) -> dict:
        found = nextpnr.place_and_route(folder, _module(name), clock_hz=board.clock_hz, limit_s=limit_s)
        return dataclasses.asdict(found)

    names = [one.name for one in program.graph.stages] if per_stage else [stage]
    with ThreadPoolExecutor(jobs) as pool:
        found = {name or "accelerator": one for name, one in zip(names, pool.map(routed, names), strict=True)}
    rows = [(name, f"{one['clock_hz'] / 1e6:.1f} MHz", _used(one)) for name, one in found.items()]
    table = tables.plain_table(("stage", ">fastest clock", "cells"), rows)
    return Outcome({"tool": "nextpnr-ecp5", "routed": found}, (table, f"nextpnr, {nextpnr.LABEL}"))


def _module(stage: str | None) -> str:
    return "accelerator" if stage is None else f"stage_{stage}"


def _used(routed: dict) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in routed["used"].items() if count)


def _vitis(folder: Path, program, stage: str | None, per_stage: bool, jobs: int, limit_s: float) -> Outcome:
    from espalier.measure.synthesis import vitis

    if stage is not None or per_stage:
        given = "--stage" if stage is not None else "--per-stage"
        raise InvalidInputError(f"{given}: --tool vitis takes whole designs only, accepted are yosys, nextpnr-ecp5")
    found = dataclasses.asdict(vitis.synthesize(folder, limit_s=limit_s))
    rows = [(kind, str(count), str(found["available"].get(kind, ""))) for kind, count in found["used"].items()]
    return Outcome(
        {"tool": "vitis", **found}, (tables.plain_table(("resource", ">used", ">available"), rows), found["label"])
    )
