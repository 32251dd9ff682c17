"""Runs `measure` in a process of its own, and in another one after each step that ends it.

A kernel that faults or hangs takes its process with it, and so no result but its own. Nothing of CUDA is loaded here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

LOST = 3
"""Exit status of a process whose GPU context a step broke."""
DONE = (0, 1)
"""Those of one that came to its end: everything is right, or something is wrong or cannot run here."""
STARTS_S, LEAST_S = 90, 20
"""What a process may take until its first step begins; and with less than that left no other one is started."""
POLL_S = 0.5


def begun_in(record: Path) -> dict | None:
    """The step at work; None before the first one."""
    return json.loads(record.read_text())["begun"] if record.exists() else None


def wait(child: subprocess.Popen, record: Path) -> str | None:
    """Why the child ended; None if it came to its end. A child whose step takes longer than its limit is ended."""
    step, since = begun_in(record), time.monotonic()
    limit = STARTS_S
    while child.poll() is None:
        time.sleep(POLL_S)
        now = begun_in(record)
        if now != step:
            step, since, limit = now, time.monotonic(), now["limit_s"]
        if time.monotonic() - since > limit:
            child.kill()
            child.wait()
            return f"took more than {limit} s"
    if child.returncode in DONE:
        return None
    return "broke the GPU's context" if child.returncode == LOST else f"ended the process ({child.returncode})"


def supervise(command: list[str], record: Path, seconds: float) -> int:
    """The exit status of the last process. command: of one; what is left of the time and a step's number are added."""
    end, first, why = time.monotonic() + seconds, 0, None
    record.unlink(missing_ok=True)
    while first == 0 or end - time.monotonic() > LEAST_S:
        child = subprocess.Popen([*command, "--seconds", f"{end - time.monotonic():.0f}", "--first", str(first)])
        try:
            why = wait(child, record)
        finally:
            child.kill()
        if why is None:
            return child.returncode
        results = json.loads(record.read_text()) if record.exists() else {"begun": None}
        begun = results["begun"]
        print(f"{begun['step'] if begun else 'the start'}: {why}", flush=True)
        if begun is None or begun["number"] < first:  # it did not come as far as a step
            return LOST
        results["lost"].append({**begun, "error": why})
        record.write_text(json.dumps(results, indent=1) + "\n")
        first = begun["number"] + 1
    return LOST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("record", type=Path)
    parser.add_argument("--seconds", type=float, default=400)
    options = parser.parse_args()
    command = [sys.executable, "-m", "gpu.measure", str(options.folder), str(options.record)]
    sys.exit(supervise(command, options.record, options.seconds))


if __name__ == "__main__":
    main()
