"""A PostgreSQL server of its own for a test, on this machine alone."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
PATH = os.pathsep.join([os.environ.get("PATH", ""), *map(str, DEBIAN)])
INITDB, POSTGRES = (shutil.which(name, path=PATH) for name in ("initdb", "postgres"))
STARTED_S, STOPPED_S = 60.0, 30.0


class NotStartedError(Exception):
    """With the last lines of what the server said."""


def free_port() -> int:
    """One that nothing listens at now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Its URL; it needs INITDB and POSTGRES. What runs as root runs it as "nobody", since it refuses root."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        user = _nobody(folder) if os.geteuid() == 0 else {}
        data, log = folder / "data", folder / "log"
        with log.open("w") as said:
            how = {"stdout": said, "stderr": said, "cwd": "/", **user}
            words = ("-D", data, "-U", "espalier", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8")
            assert subprocess.run([INITDB, *words], **how).returncode == 0, _last_words(log)
            try:
                process, url = _started(folder, log, how)
            except NotStartedError:  # another process may have taken the port
                process, url = _started(folder, log, how)
            try:
                yield url
            finally:
                _stop(process)


def _nobody(folder: Path) -> dict:
    """Of a process that may write into the folder, and is no longer in any group of root's."""
    shutil.chown(folder, "nobody")
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}


def _started(folder: Path, log: Path, how: dict) -> tuple[subprocess.Popen, str]:
    """(process, URL) at a free port."""
    port = free_port()
    place = ("-D", folder / "data", "-h", "127.0.0.1", "-p", str(port), "-k", folder)
    process, url = subprocess.Popen([POSTGRES, *place, "-F"], **how), f"postgresql://espalier@127.0.0.1:{port}/postgres"
    try:
        _wait(process, url, log)
    except NotStartedError:
        _stop(process)
        raise
    return process, url


def _wait(process: subprocess.Popen, url: str, log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + STARTED_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotStartedError(_last_words(log)) from None
            time.sleep(0.1)


def _stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOPPED_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(log: Path) -> str:
    """What is fatal is told some lines before the end."""
    return "\n".join(log.read_text().splitlines()[-5:])
