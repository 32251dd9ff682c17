"""A PostgreSQL server of its own for a test, on this machine alone."""

from __future__ import annotations

import contextlib
import os
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
STARTED_S = 60.0


def free_port() -> int:
    """One that nothing listens at now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Its URL; it needs INITDB and POSTGRES. What runs as root runs it as "nobody", since it refuses root."""
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as text:
        folder, port = Path(text), free_port()
        if user:
            shutil.chown(folder, "nobody")
        data, quiet = folder / "data", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
        words = ("-D", data, "-U", "espalier", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8")
        subprocess.run([INITDB, *words], check=True, **user, **quiet)
        place = ("-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder)
        process = subprocess.Popen([POSTGRES, *place, "-F"], **user, **quiet)
        try:
            _wait(process, port)
            yield f"postgresql://espalier@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _wait(process: subprocess.Popen, port: int) -> None:
    import psycopg

    deadline = time.monotonic() + STARTED_S
    while True:
        try:
            psycopg.connect(f"postgresql://espalier@127.0.0.1:{port}/postgres", connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)
