"""A child process that computes what it is asked, one call after another, and may crash or hang without harm.

The child imports what calls need once and then forks; the fork answers calls. When it dies the child says so in its
place and forks again, which takes milliseconds where the imports take seconds. Ctrl-C is the parent's affair; when the
parent ends the child does, and takes its fork along, even out of a loop that never ends.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

LOOK_S = 0.1
"""How often a child looks after its fork and its parent."""

START_S = 120.0
"""Imports take no longer than this."""


GONE = (EOFError, OSError, pickle.UnpicklingError)
"""What a parent sees when the whole child has ended, or what it said last is torn."""


class ChildError(Exception):
    """A call without a result. state: "crashed" (the process died), "hung" (no answer in time) or "failed" (raised)."""

    def __init__(self, state: str, detail: str):
        super().__init__(f"{state}: {detail}")
        self.state, self.detail = state, detail


class Child:
    """A process that is started at once, so that its imports overlap with what the parent does meanwhile.

    preload: the module that it imports before its first call.
    """

    def __init__(self, preload: str = "") -> None:
        self.preload, self._is_closed = preload, False
        self._start()

    def call(self, function: Callable, *arguments, timeout_s: float):
        """`function(*arguments)` as the child computes it; both must be picklable, the function by its name.

        timeout_s: from the call to the answer, not counting a start of the process. Raises ChildError.
        """
        try:
            return self._call(function, arguments, timeout_s)
        except GONE:
            self._restart()
        try:
            return self._call(function, arguments, timeout_s)
        except GONE:
            self._restart()
            raise ChildError("crashed", "its process ended twice") from None

    def _call(self, function: Callable, arguments: tuple, timeout_s: float):
        worker = self._worker or self._next_worker()
        self._connection.send((function, arguments))
        if not self._connection.poll(timeout_s):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
            state, value = "hung", f"no result in {timeout_s:g} s"
            while self._connection.recv()[0] != "crashed":  # an answer that came too late
                pass
        else:
            state, value = self._connection.recv()
        self._worker = worker if state in ("ok", "failed") else None
        if state != "ok":
            raise ChildError(state, value)
        return value

    def close(self) -> None:
        """End the process for good, whatever it does; a call that waits for it in another thread fails."""
        self._is_closed = True
        self._end()

    def _end(self) -> None:
        self._connection.close()
        for number in filter(None, (self._worker, self._process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        arguments = [str(theirs.fileno()), str(os.getpid()), self.preload]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "espalier.measure.child", *arguments],
                env=environment,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._connection, self._worker = Connection(ours.detach()), None

    def _restart(self) -> None:
        if self._is_closed:
            raise ChildError("failed", "the process was closed")
        self._end()
        self._start()

    def _next_worker(self) -> int:
        """The process that will answer the next call."""
        if not self._connection.poll(START_S):
            raise EOFError
        self._worker = self._connection.recv()[1]
        return self._worker


def _look_after_workers(connection: Connection, parent: int) -> None:
    """Fork again and again, until the parent hangs up or is gone."""
    while True:
        worker = os.fork()
        if worker == 0:
            _serve(connection)
            os._exit(0)
        done = 0
        while not done:
            time.sleep(LOOK_S)
            done, status = os.waitpid(worker, os.WNOHANG)
            if os.getppid() != parent:
                os.kill(worker, signal.SIGKILL)
                return
        if status == 0:  # the parent hung up
            return
        code = os.waitstatus_to_exitcode(status)
        connection.send(("crashed", f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"))


def _serve(connection: Connection) -> None:
    """Answer calls until the parent hangs up."""
    connection.send(("ready", os.getpid()))
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = ("ok", function(*arguments))
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            answer = ("failed", f"{type(error).__name__}: {lines[-1] if lines else ''}")
        connection.send(answer)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.argv[3]:
        importlib.import_module(sys.argv[3])
    _look_after_workers(Connection(int(sys.argv[1])), int(sys.argv[2]))
