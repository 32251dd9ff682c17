"""Do the README's commands for FPGAs run from end to end, how long do they take, and what do they say?

The bundled integer ResNet-8 is compiled for a PYNQ-Z2 as a user would, synthesized by Yosys as one design, simulated by
Verilator, each by a command of its own in an empty folder. Only what PyPI and Debian have is needed.

    python benchmarks/bench_fpga_commands.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from support.records import write_record

RECORD, MODEL, BOARD = "fpga_commands", "resnet8-int8", "pynq-z2"
COMMANDS = {
    "compile": f"espalier compile {MODEL} --target fpga_hls/{BOARD} -o out",
    "synth": "espalier synth out --tool yosys",
    "profile": "espalier profile out --simulate rtl",
}
SAID = {
    "compile": (),
    "synth": ("label", "counts"),
    "profile": ("interval_cycles", "predicted_interval_cycles", "latency_cycles", "predicted_latency_cycles"),
}
"""What is kept of each command's JSON."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {name: run(command, SAID[name], Path(folder)) for name, command in COMMANDS.items()}
    write_record(RECORD, found)
    shown = Table("command", "seconds", "says")
    for one in found.values():
        shown.add_row(one["command"], f"{one['seconds']:.0f}", json.dumps(one["says"]))
    Console().print(shown)


def run(command: str, kept: tuple[str, ...], folder: Path) -> dict:
    """A command in a folder, and what it says; SystemExit with its errors if it fails."""
    program, *arguments = command.split()
    start = time.perf_counter()
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments, "--json"], cwd=folder, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr.strip()}")
    said = json.loads(done.stdout)
    return {"command": command, "seconds": round(seconds, 1), "says": {name: said[name] for name in kept}}


if __name__ == "__main__":
    main()
