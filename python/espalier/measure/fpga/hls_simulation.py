"""Emitted HLS C++ under g++: its answers, with streams as short as in hardware."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core.errors import EspalierError, InvalidInputError, ToolNotFoundError
from .tools import find_tool, run_tool

INSTALL = "apt-get install g++"
HEADERS = "hls4ml"
"""The package on PyPI whose wheel has ap_int.h and ap_fixed.h under the Apache licence."""

FLAGS = ("-std=c++17", "-Wall", "-Wno-unknown-pragmas", "-Wno-unused-label")
NATIVE = ("-DESPALIER_NATIVE_WIDTHS", "-fwrapv")
"""Integers of 32 bits, which wrap as those of hardware do."""

DIFFERS, DEADLOCK = 1, 3
"""Exit statuses of the test bench."""


class EmulationError(EspalierError):
    """The emitted C++ gave other numbers than the integer body, or stopped."""


@dataclass(frozen=True, eq=False)
class HlsSimulation:
    """outputs: [N, H, W, C], uint8 or int32. wrong: numbers that differ from those that were expected."""

    outputs: np.ndarray
    wrong: int
    compile_s: float
    run_s: float


@dataclass(frozen=True)
class HlsProgram:
    """A built test bench; `compile_s`: how long g++ took."""

    program: Path
    compile_s: float

    def run(self, inputs: np.ndarray, expected: np.ndarray, limit_s: float = 600) -> HlsSimulation:
        """Simulate images [N, H, W, C] and compare with what is expected of them.

        Raises EmulationError for a deadlock, with the streams that wait, and ToolFailedError for any other end.
        """
        if len(inputs) != len(expected) or not len(inputs):
            raise InvalidInputError(
                f"simulation: got {len(inputs)} images and {len(expected)} results, accepted is 1 each"
            )
        with tempfile.TemporaryDirectory(prefix="espalier-") as scratch:
            given, wanted, came = (Path(scratch) / name for name in ("input.bin", "expected.bin", "output.bin"))
            np.ascontiguousarray(inputs).tofile(given)
            np.ascontiguousarray(expected).tofile(wanted)
            start, log = time.perf_counter(), self.program.with_suffix(".log")
            said = run_tool([self.program, given, wanted, came], log.parent, log, limit_s, (0, DIFFERS, DEADLOCK))
            seconds = time.perf_counter() - start
            stopped = next((line for line in said.splitlines() if line.startswith("deadlock:")), None)
            if stopped:
                raise EmulationError(f"HLS C++: {stopped} its log is {log}")
            outputs = np.fromfile(came, expected.dtype).reshape(expected.shape)
        return HlsSimulation(outputs, int((outputs != expected).sum()), self.compile_s, seconds)


def build_hls(project: Path, folder: Path, exact_widths: bool = True, limit_s: float = 1200) -> HlsProgram:
    """Compile the test bench of an emitted project.

    project: with src/ and simulation/. folder: for the program and the logs, made if it is not there.
    exact_widths: with ap_int types of the bits that hardware has; False has 32-bit integers and is faster.
    Raises ToolNotFoundError, ToolFailedError, InvalidInputError for a folder without the project's sources.
    """
    sources = [project / "src" / name for name in ("accelerator.cpp", "testbench.cpp")]
    missing = next((path for path in sources if not path.is_file()), None)
    if missing is not None:
        raise InvalidInputError(f"{project}: got no {missing.name}, accepted is an emitted HLS project")
    compiler = find_tool("g++", install=INSTALL)
    widths = ["-isystem", headers_folder()] if exact_widths else NATIVE
    folder.mkdir(parents=True, exist_ok=True)
    program, level = folder / "testbench", "-O1" if exact_widths else "-O2"
    include = ["-I", project / "src", "-I", project / "simulation"]
    start = time.perf_counter()
    words = [compiler, *FLAGS, level, *include, *widths, *sources, "-o", program]
    run_tool(words, folder, folder / "compiler.log", limit_s)
    return HlsProgram(program.absolute(), time.perf_counter() - start)


def headers_folder() -> Path:
    """Of ap_int.h; ToolNotFoundError if the package that has it is not installed."""
    found = importlib.util.find_spec(HEADERS)
    for base in (found.submodule_search_locations or ()) if found else ():
        folder = Path(base) / "templates" / "vivado" / "ap_types"
        if (folder / "ap_int.h").is_file():
            return folder
    raise ToolNotFoundError(f"ap_int.h is not installed; get it by: pip install --no-deps {HEADERS}")
