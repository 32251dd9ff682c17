"""Programs of others, run with a time limit and with a log that stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ...core.errors import EspalierError, ToolNotFoundError

STARTED = 'exec 3<&0; { read nothing; kill -s KILL 0; } <&3 & exec "$@" </dev/null 3<&-'
"""A shell that becomes a tool. Beside it one waits for the end of a pipe that nobody writes to: when Python is gone, by
whatever signal, the pipe closes and the tool's process group is killed.
"""


class ToolFailedError(EspalierError):
    """A program ended with an error, or as below; the message names its log."""


class ToolTimeoutError(ToolFailedError):
    """A program ran past its time; the message names its log."""


def find_tool(*names: str, install: str) -> str:
    """The path of the first of these programs that is on PATH, or beside Python, where pip puts programs.

    install: the command that installs it. Raises ToolNotFoundError, which speaks of the first one.
    """
    for name in names:
        for folders in (None, str(Path(sys.executable).parent)):
            if found := shutil.which(name, path=folders):
                return found
    raise ToolNotFoundError(f"{names[0]} is not installed; get it by: {install}")


def run_tool(command: Sequence[str | Path], folder: Path, log: Path, limit_s: float, accepted=(0,)) -> str:
    """Run a program in a folder and give what it printed, which is also the text of `log`.

    accepted: exit statuses. Its process group ends with it, when the time is over, or when Python ends before it does.
    Raises ToolFailedError for another exit status, ToolTimeoutError for a run longer than limit_s.
    """
    words = [str(word) for word in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        process = subprocess.Popen(
            ["/bin/sh", "-c", STARTED, "sh", *words],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with process:
            try:
                status = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                name = Path(words[0]).name
                raise ToolTimeoutError(f"{name}: no end after {limit_s:g} s, stopped; its log is {log}") from None
            finally:
                os.killpg(process.pid, signal.SIGKILL)
    text = log.read_text(errors="replace")
    if status not in accepted:
        raise ToolFailedError(f"{Path(words[0]).name}: exit status {status}: {_told(text)}; its log is {log}")
    return text


def _told(text: str) -> str:
    """The first line that speaks of an error, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines[-1:] or ["it said nothing"])[0]
