"""`espalier synth`: what synthesis makes of an accelerator."""

from __future__ import annotations

import dataclasses
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from espalier.core.errors import InvalidInputError
from espalier.report import tables

from .output import Outcome, limited, rounds

TOOLS = ("yosys", "nextpnr-ecp5", "vitis")
AMD = ("xc7", "xcup")
"""Families of boards whose cells Yosys counts."""


HEADS = {"luts": "LUTs", "ffs": "flip-flops", "dsps": "DSPs", "bram_36k": "blocks of 36 kbit"}
"""Of Yosys' counts, as tables call them."""

TOTAL = "total"


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
    with rounds(1, tool) as advance, limited():
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
            TOTAL: yosys.total(parts.values()).summary(),
        }
    else:
        counts = {stage or "accelerator": yosys.synthesize(folder, _module(stage), family, limit_s=limit_s).summary()}
    board, (subject, used) = program.board, list(counts.items())[-1]
    have = {kind: getattr(board.resources, kind) for kind in HEADS}
    rows = [(name, *(f"{one[kind]:.12g}" for kind in HEADS)) for name, one in [*counts.items(), (board.name, have)]]
    table = tables.plain_table(("stage", *(f">{head}" for head in HEADS.values())), rows)
    said = f"Yosys, {yosys.LABEL}; logs in {folder / 'synthesis'}"
    lacks = _lacks(used, have)
    data = {"tool": "yosys", "label": yosys.LABEL, "board": board.name, "counts": counts, "available": have}
    verdict = _verdict(subject, board.name, {HEADS[kind]: counts for kind, counts in lacks.items()})
    return Outcome(data | {"fits": not lacks, "lacks": lacks}, (table, *verdict, said))


def _route(folder: Path, program, stage: str | None, per_stage: bool, jobs: int, limit_s: float) -> Outcome:
    from espalier.measure.synthesis import nextpnr

    board = program.board
    aim_hz = max(board.clock_hz, nextpnr.AIM_HZ)
    if board.family in AMD:
        raise InvalidInputError(f"--tool nextpnr-ecp5: routes for an ECP5, not for {board.name}; use yosys or vitis")

    def routed(name: str | None) -> dict:
        found = nextpnr.place_and_route(folder, _module(name), clock_hz=aim_hz, limit_s=limit_s)
        return dataclasses.asdict(found)

    names = [one.name for one in program.graph.stages] if per_stage else [stage]
    with ThreadPoolExecutor(jobs) as pool:
        found = {name or "accelerator": one for name, one in zip(names, pool.map(routed, names), strict=True)}
    return _routes(found, board.name, aim_hz, per_stage)


def _routes(found: dict[str, dict], board: str, aim_hz: float, per_stage: bool) -> Outcome:
    """found: of each stage, or of the whole."""
    from espalier.measure.synthesis import nextpnr

    rows = [(name, f"{one['clock_hz'] / 1e6:.1f} MHz", _cells(one["used"])) for name, one in found.items()]
    data = {"tool": "nextpnr-ecp5", "label": nextpnr.LABEL, "board": board, "aim_hz": aim_hz, "routed": found}
    used = sum((Counter(one["used"]) for one in found.values()), Counter())
    have = {kind: count for kind, count in next(iter(found.values()))["available"].items() if used[kind]}
    lacks = _lacks(used, have)
    data |= {"total": used, "available": have, "fits": not lacks, "lacks": lacks}
    said = f"nextpnr, {nextpnr.LABEL}, aimed at {aim_hz / 1e6:g} MHz: it does not try for more."
    if per_stage:
        rows.append((TOTAL, "", _cells(used)))
        said += f" The {TOTAL} is without the FIFOs between stages."
    rows.append((board, "", _cells(have)))
    table = tables.plain_table(("stage", ">fastest clock", "cells"), rows)
    return Outcome(data, (table, *_verdict(rows[-2][0], board, lacks), said))


def _module(stage: str | None) -> str:
    return "accelerator" if stage is None else f"stage_{stage}"


def _cells(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _lacks(used: dict, available: dict) -> dict[str, dict]:
    return {
        kind: {"needed": count, "available": available[kind]} for kind, count in used.items() if count > available[kind]
    }


def _verdict(subject: str, board: str, lacks: dict[str, dict]) -> list[str]:
    """A line for each resource that lacks, else one."""
    if not lacks:
        return [f"{subject}: fits {board}"]
    return [
        f"{subject}: {board} lacks {kind}: {one['needed']:,.12g} needed, {one['available']:,.12g} available"
        for kind, one in lacks.items()
    ]


def _vitis(folder: Path, program, stage: str | None, per_stage: bool, jobs: int, limit_s: float) -> Outcome:
    from espalier.measure.synthesis import vitis

    if stage is not None or per_stage:
        given = "--stage" if stage is not None else "--per-stage"
        raise InvalidInputError(f"{given}: --tool vitis takes whole designs only, accepted are yosys, nextpnr-ecp5")
    found = dataclasses.asdict(vitis.synthesize(folder, limit_s=limit_s))
    rows = [(kind, str(count), str(found["available"].get(kind, ""))) for kind, count in found["used"].items()]
    rows.append(("fastest clock", f"{1e-6 / found['clock_s']:.1f} MHz", f"{program.board.clock_hz / 1e6:g} MHz asked"))
    rows += [(kind, _cycles(found[f"{kind}_cycles"]), "") for kind in ("interval", "latency")]
    table = tables.plain_table(("", ">used", ">available"), rows)
    return Outcome({"tool": "vitis", **found}, (table, found["label"]))


def _cycles(count: int | None) -> str:
    return "unknown" if count is None else f"{count} cycles"
