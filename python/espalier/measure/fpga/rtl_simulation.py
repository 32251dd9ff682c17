"""Emitted SystemVerilog simulated: its answers, its cycles, what each stage waited for and how full each FIFO was.

Verilator compiles it to a fast program; Icarus is ready at once, and a second opinion.
The build lines are our own: Debian's Verilator 5.006 does not know its own folder, which its makefiles need.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...codegen.fpga_hls.rtl.beats import hexadecimal
from ...core.errors import EspalierError, InvalidInputError
from .tools import find_tool, run_tool

INSTALL = "apt-get install verilator g++"
INSTALL_ICARUS = "apt-get install iverilog"
VERILATE = ("--cc", "--no-timing", "-O3", "--x-assign", "0", "--x-initial", "0", "--noassert", "-Wno-fatal")
COMPILE = ("-std=c++17", "-O1", "-fno-strict-aliasing", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TRACE=0")
RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
INCLUDE_FOLDERS = ("share/verilator/include", "include")
MAIN, ADAPTERS, SWITCHING = (
    Path(__file__).with_name(name) for name in ("verilator_main.cpp", "adapter_statistics.sv", "switching.sv")
)


class SimulationError(EspalierError):
    """The simulated hardware stopped moving, lost a result, or gave fewer results than asked for."""


@dataclass(frozen=True)
class StageActivity:
    """Cycles of a stage over the whole simulation.

    fill: before it began. busy: it worked. starved, blocked: after that, it waited for its input or for room behind it.
    """

    busy: int
    starved: int
    blocked: int
    fill: int


@dataclass(frozen=True)
class FifoUse:
    """depth: words it can hold; high_water: the most it held."""

    depth: int
    high_water: int


@dataclass(frozen=True)
class Switching:
    """bits: of a word that a stage computes with; toggles: how often one of them changed, over the whole simulation."""

    bits: int
    toggles: int


@dataclass(frozen=True, eq=False)
class RtlSimulation:
    """What a simulation gave.

    outputs: the beats that came out, [frames, beats], as Python integers. first_in, first_out, last_out: the cycles of
    each frame's first beat in, first beat out, last beat out. stages, fifos, switching: by the path of their instance;
    the last is empty unless it was asked for.
    """

    outputs: list[list[int]]
    first_in: tuple[int, ...]
    first_out: tuple[int, ...]
    last_out: tuple[int, ...]
    stages: dict[str, StageActivity]
    fifos: dict[str, FifoUse]
    switching: dict[str, Switching]
    log: Path

    @property
    def latency_cycles(self) -> int:
        """From the first frame's first beat in to its last one out, both counted."""
        return self.last_out[0] - self.first_in[0] + 1

    @property
    def interval_cycles(self) -> int | None:
        """Between the last two frames; None for one frame."""
        return self.last_out[-1] - self.last_out[-2] if len(self.last_out) > 1 else None


@dataclass(frozen=True)
class RtlProgram:
    """A built simulator. folder: of the project's rtl/, where it runs. command: that runs it. log: of its last run."""

    folder: Path
    command: tuple[str | Path, ...]
    log: Path

    def run(
        self,
        frames: list[list[int]],
        in_bits: int,
        stalls: int = 0,
        patience: int | None = None,
        limit_s: float = 600,
    ) -> RtlSimulation:
        """Simulate; frames: the beats of each frame.

        stalls: of 256 cycles, in how many the host holds each of its two streams back. patience: cycles without a beat
        at either end after which the design is said to be in a deadlock; by default what its bench.sv says, more than
        the graph ever needs.
        Raises SimulationError for a deadlock or lost results, InvalidInputError without frames.
        """
        if not frames:
            raise InvalidInputError("simulation: got no frames, accepted are 1 or more")
        with tempfile.TemporaryDirectory(prefix="espalier-") as scratch:
            given, came = Path(scratch) / "in.hex", Path(scratch) / "out.hex"
            given.write_text(hexadecimal((beat for frame in frames for beat in frame), in_bits))
            words = [f"+input={given}", f"+output={came}", f"+frames={len(frames)}", f"+stalls={stalls}"]
            words += [] if patience is None else [f"+patience={patience}"]
            said = run_tool([*self.command, *words], self.folder, self.log, limit_s)
            beats = [int(line, 16) for line in came.read_text().split()]
        return read_log(said, beats, len(frames), self.log)


def build_rtl(folder: Path, limit_s: float = 1200, counts_switching: bool = False) -> RtlProgram:
    """Build the simulator of an emitted project; it and the logs stay in folder/build.

    folder: with rtl/. counts_switching: of the operands of every stage. Raises ToolNotFoundError, ToolFailedError.
    """
    rtl, build = _folders(folder)
    verilator, compiler = (find_tool(one, install=INSTALL) for one in ("verilator", "g++"))
    words = [
        verilator,
        *VERILATE,
        "--top-module",
        "bench",
        "--prefix",
        "Vbench",
        "--Mdir",
        build,
        "-y",
        rtl,
        rtl / "bench.sv",
        ADAPTERS,
        *([SWITCHING] if counts_switching else []),
    ]
    run_tool(words, rtl, build / "verilator.log", limit_s)
    include = _include_folder(verilator)
    parts = [*sorted(build.glob("Vbench*.cpp")), MAIN, *(include / name for name in RUNTIME)]
    joined = build / "all.cpp"
    joined.write_text("".join(f'#include "{path}"\n' for path in parts))
    program = build / "simulate"
    flags = [*COMPILE, "-I", build, "-I", include, "-I", include / "vltstd", "-pthread"]
    run_tool([compiler, *flags, joined, "-o", program], build, build / "compiler.log", limit_s)
    return RtlProgram(rtl, (program,), build / "simulate.log")


def build_icarus(folder: Path, limit_s: float = 600) -> RtlProgram:
    """As `build_rtl`, for Icarus: built in a second, some hundred times slower to run; adapters are not counted."""
    rtl, build = _folders(folder)
    compiler, runner = (find_tool(one, install=INSTALL_ICARUS) for one in ("iverilog", "vvp"))
    words = [compiler, "-g2012", "-o", build / "icarus", "-s", "clock", "-y", ".", "-Y", ".sv", "clock.sv"]
    run_tool(words, rtl, build / "iverilog.log", limit_s)
    return RtlProgram(rtl, (runner, "-n", build / "icarus"), build / "icarus.log")


def _folders(folder: Path) -> tuple[Path, Path]:
    rtl, build = Path(folder).absolute() / "rtl", Path(folder).absolute() / "build"
    if not (rtl / "bench.sv").is_file():
        raise InvalidInputError(f"{folder}: got no rtl/bench.sv, accepted is the folder of an emitted project")
    build.mkdir(exist_ok=True)
    return rtl, build


def read_log(said: str, beats: list[int], frames: int, log: Path) -> RtlSimulation:
    """The value behind what the test bench printed."""
    for trouble in re.findall(r"^espalier (?:deadlock|error|mismatch): .*$", said, re.MULTILINE):
        raise SimulationError(f"simulation: {trouble.removeprefix('espalier ')}; its log is {log}")
    first_in = _numbers(said, r"^espalier frame=\d+ first_in=(\d+)$")
    first_out = _numbers(said, r"^espalier frame=\d+ first_out=(\d+) last_out=\d+$")
    last_out = _numbers(said, r"^espalier frame=\d+ first_out=\d+ last_out=(\d+)$")
    if len(last_out) != frames:
        raise SimulationError(f"simulation: got {len(last_out)} of {frames} frames; its log is {log}")
    each = len(beats) // frames
    outputs = [beats[at : at + each] for at in range(0, len(beats), each)]
    return RtlSimulation(outputs, first_in, first_out, last_out, _stages(said), _fifos(said), _switching(said), log)


def _numbers(said: str, pattern: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(pattern, said, re.MULTILINE)))


def _stages(said: str) -> dict[str, StageActivity]:
    found = re.findall(r"^espalier stage (\S+) busy=(\d+) starved=(\d+) blocked=(\d+) fill=(\d+)$", said, re.MULTILINE)
    return {_place(path): StageActivity(*map(int, counts)) for path, *counts in found}


def _fifos(said: str) -> dict[str, FifoUse]:
    found = re.findall(r"^espalier fifo (\S+) depth=(\d+) high_water=(\d+)$", said, re.MULTILINE)
    return {_place(path): FifoUse(int(depth), int(most)) for path, depth, most in found}


def _switching(said: str) -> dict[str, Switching]:
    found = re.findall(r"^espalier switching (\S+) bits=(\d+) toggles=(\d+)$", said, re.MULTILINE)
    return {_place(path): Switching(int(bits), int(toggles)) for path, bits, toggles in found}


def _place(path: str) -> str:
    """The path within the design, without the parts that name no instance of ours."""
    inner = path.split("design_under_test.", 1)[-1]
    return ".".join(part for part in inner.split(".") if part not in ("stage", "reader", "statistics"))


def _include_folder(verilator: str) -> Path:
    for folder in INCLUDE_FOLDERS:
        found = Path(verilator).resolve().parents[1] / folder
        if (found / "verilated.cpp").is_file():
            return found
    raise SimulationError(
        f"verilator: got no verilated.cpp beside {verilator}, accepted is the package with its headers"
    )
