"""`espalier synth`: what synthesis makes of an accelerator."""

from __future__ import annotations

import dataclasses
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from espalier.core.errors import InvalidInputError
from espalier.report import tables
from espalier.targets.boards import RESOURCE_NAMES

from .output import Outcome, limited, rounds

TOOLS = ("yosys", "nextpnr-ecp5", "vitis")
AMD = ("xc7", "xcup")
"""Families of boards whose cells Yosys counts."""

VITIS_NAMES = RESOURCE_NAMES | {"bram_18k": "blocks of 18 kbit"}
WHOLE, TOTAL = "accelerator", "total"


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
        counts = {stage or WHOLE: yosys.synthesize(folder, _module(stage), family, limit_s=limit_s).summary()}
    board, (subject, used) = program.board, list(counts.items())[-1]
    have = {kind: getattr(board.resources, kind) for kind in used}
    rows = [(name, *(f"{one[kind]:.12g}" for kind in used)) for name, one in [*counts.items(), (board.name, have)]]
    table = tables.plain_table(("stage", *(f">{RESOURCE_NAMES[kind]}" for kind in used)), rows)
    said = f"Yosys, {yosys.LABEL}; logs in {folder / 'synthesis'}"
    data = {"tool": "yosys", "label": yosys.LABEL, "board": board.name, "counts": counts, "available": have}
    fit = _fit(used, have, _usable_shares())
    return Outcome(data | fit, (table, *_verdict(subject, board.name, fit, RESOURCE_NAMES), said))


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
        found = {name or WHOLE: one for name, one in zip(names, pool.map(routed, names), strict=True)}
    return _routes(found, board.name, aim_hz, per_stage)


def _routes(found: dict[str, dict], board: str, aim_hz: float, per_stage: bool) -> Outcome:
    """found: of each stage, or of the whole."""
    from espalier.measure.synthesis import nextpnr

    logic = {name: {kind: one["used"].get(kind, 0) for kind in nextpnr.LOGIC} for name, one in found.items()}
    rows = [(name, f"{one['clock_hz'] / 1e6:.1f} MHz", _cells(logic[name])) for name, one in found.items()]
    data = {"tool": "nextpnr-ecp5", "label": nextpnr.LABEL, "board": board, "aim_hz": aim_hz, "routed": found}
    used = sum((Counter(one) for one in logic.values()), Counter())
    have = {kind: next(iter(found.values()))["available"][kind] for kind in used}
    said = f"nextpnr, {nextpnr.LABEL}, aimed at {aim_hz / 1e6:g} MHz: it does not try for more."
    shares = {}
    if per_stage:
        rows.append((TOTAL, "", _cells(used)))
        said += f" The {TOTAL} is without the FIFOs between stages."
        usable = _usable_shares()
        shares = {"TRELLIS_COMB": usable["luts"], "TRELLIS_FF": usable["ffs"]}
    fit = _fit(used, have, shares)
    verdict = _verdict(rows[-1][0], board, fit, {kind: kind for kind in used}, is_placed=not per_stage)
    rows.append((board, "", _cells(have)))
    table = tables.plain_table(("stage", ">fastest clock", "cells"), rows)
    return Outcome(data | {"total": used, "available": have} | fit, (table, *verdict, said))


def _module(stage: str | None) -> str:
    return WHOLE if stage is None else f"stage_{stage}"


def _cells(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _usable_shares() -> dict[str, float]:
    """Of each resource, what routing can use as a rule."""
    from espalier.codegen.fpga_hls.folding import USABLE

    return dataclasses.asdict(USABLE)


def _fit(used: dict, available: dict, shares: dict[str, float]) -> dict:
    """Whether a design fits, what lacks, and what is there but above the share of it that can be routed as a rule."""
    lacks, above = {}, {}
    for kind, count in used.items():
        have, share = available[kind], shares.get(kind, 1)
        if count > have:
            lacks[kind] = {"needed": count, "available": have}
        elif count > share * have:
            above[kind] = {"needed": count, "usable": share * have, "usable_share": share}
    return {"fits": not lacks, "lacks": lacks, "above_usable": above}


def _verdict(subject: str, board: str, fit: dict, names: dict[str, str], is_placed: bool = False) -> list[str]:
    """A line for each resource that lacks, else one. is_placed: else the cells were only counted."""
    if fit["lacks"]:
        return [
            f"{subject}: {board} lacks {names[kind]}: {one['needed']:,.12g} needed, {one['available']:,.12g} available"
            for kind, one in fit["lacks"].items()
        ]
    if fit["above_usable"]:
        limits = [f"the {100 * one['usable_share']:g} % of {names[kind]}" for kind, one in fit["above_usable"].items()]
        within = f"within {board}'s cells by count"
        return [f"{subject}: {within}, but above {' and '.join(limits)} that can be routed as a rule"]
    return [f"{subject}: fits {board}" if is_placed else f"{subject}: fits {board} by count, not placed"]


def _vitis(folder: Path, program, stage: str | None, per_stage: bool, jobs: int, limit_s: float) -> Outcome:
    from espalier.measure.synthesis import vitis

    if stage is not None or per_stage:
        given = "--stage" if stage is not None else "--per-stage"
        raise InvalidInputError(f"{given}: --tool vitis takes whole designs only, accepted are yosys, nextpnr-ecp5")
    found = dataclasses.asdict(vitis.synthesize(folder, limit_s=limit_s))
    used, have, board = found["used"], found["available"], program.board
    rows = [(VITIS_NAMES[kind], str(count), str(have[kind])) for kind, count in used.items()]
    rows.append(("fastest clock", f"{1e-6 / found['clock_s']:.1f} MHz", f"{board.clock_hz / 1e6:g} MHz asked"))
    rows += [(kind, _cycles(found[f"{kind}_cycles"]), "") for kind in ("interval", "latency")]
    table = tables.plain_table(("", ">used", ">available"), rows)
    fit = _fit(used, have, _usable_shares())
    verdict = _verdict(WHOLE, board.name, fit, VITIS_NAMES)
    return Outcome({"tool": "vitis", **found, **fit}, (table, *verdict, found["label"]))


def _cycles(count: int | None) -> str:
    return "unknown" if count is None else f"{count} cycles"
