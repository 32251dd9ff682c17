"""What a child process may do to its parent, as functions that it can be asked to call."""

from __future__ import annotations

import ctypes
import os
import signal
import time


def add(a, b):
    """Nothing bad."""
    return a + b


def process_id() -> int:
    """Which process this is."""
    return os.getpid()


def fail() -> None:
    """Raise an error of two lines."""
    raise ValueError("first line\nlast line")


def crash() -> None:
    """Read where nothing is."""
    ctypes.string_at(0)


def leave() -> None:
    """End the process without an answer."""
    os._exit(3)


def kill_all() -> None:
    """End this process and the one that looks after it."""
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    """Never answer."""
    while True:
        time.sleep(0.01)
