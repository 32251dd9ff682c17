"""Programs of others: missing, failing, hanging."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from espalier.core.errors import ToolNotFoundError
from espalier.measure.fpga.tools import ToolFailedError, find_tool, run_tool


def test_a_missing_tool_is_named():
    with pytest.raises(ToolNotFoundError, match="no-such-tool is not installed; get it by: apt-get install it"):
        find_tool("no-such-tool", "nor-this-one", install="apt-get install it")


def test_a_tool_that_pip_put_beside_python_is_found(tmp_path, monkeypatch):
    for folder, name in (("bin", "second"), ("venv", "second"), ("venv", "third")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    assert find_tool("first", "second", "third", install="") == str(tmp_path / "bin" / "second")
    assert find_tool("third", install="") == str(tmp_path / "venv" / "third")


def test_a_failure_is_told_with_its_log(tmp_path):
    log = tmp_path / "logs" / "tool.log"
    code = "print('hello'); print('Error: wrong'); raise SystemExit(3)"
    with pytest.raises(ToolFailedError, match=r"exit status 3: Error: wrong; its log is .*tool\.log"):
        run_tool([sys.executable, "-c", code], tmp_path, log, 60)
    assert log.read_text() == "hello\nError: wrong\n"


def test_a_tool_that_hangs_is_stopped(tmp_path):
    began = time.monotonic()
    with pytest.raises(ToolFailedError, match=r"no end after 0.5 s, stopped; its log is"):
        run_tool([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, tmp_path / "log", 0.5)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_tool_ends_with_python_and_takes_what_it_started_along(tmp_path, number):
    held = tmp_path / "held"  # open for writing until the tool and its own child are gone
    os.mkfifo(held)
    tool = ["/bin/sh", "-c", f"exec 3> {held}; echo here >&3; sleep 60 & wait"]
    code = f"from espalier.measure.fpga.tools import *; run_tool({tool!r}, '.', Path('log'), 60)"
    python = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    with held.open() as end:
        assert end.readline() == "here\n"
        began = time.monotonic()
        python.send_signal(number)
        assert end.read() == ""
    assert time.monotonic() - began < 30
    assert python.wait() == -number


def test_what_it_said_is_given(tmp_path):
    assert run_tool([sys.executable, "-c", "print(7)"], tmp_path, tmp_path / "log", 60) == "7\n"
