"""Trials on machines that wait at a tracker of TVM's RPC: one of two is killed in the middle, and no trial is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from oracles.convolutions import problem_of
from tvm import rpc

from espalier.codegen.cpu.spaces import options, problem_of_task, task_of
from espalier.core.errors import ToolNotFoundError
from espalier.core.layers import Activation, Conv2dSpec
from espalier.measure.devices import Remote
from espalier.measure.steady import SteadyRule
from espalier.measure.trial_runner import TrialRunner
from espalier.targets.resolve import resolve_target

KEY, HOST = "board", "127.0.0.1"
RULE = SteadyRule(least=3, most=3)
SPEC = Conv2dSpec("conv", ("x", "weight", "bias"), Activation("relu"), padding=(1,) * 4)
TASK = task_of(problem_of(SPEC, 1, 16, 32, (12, 12), (3, 3)), resolve_target({"kind": "llvm", "num-cores": 1}))


def free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return one.getsockname()[1]


def started(*arguments) -> subprocess.Popen:
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def killed(process: subprocess.Popen) -> None:
    """With all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(done) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex((HOST, port)) == 0


@pytest.fixture
def farm():
    """The port of a tracker, and its two servers."""
    port = free_port()
    tracker = started("tvm.exec.rpc_tracker", "--host", HOST, "--port", port, "--port-end", port + 1)
    wait_until(lambda: listens(port))  # a server that finds none waits for five seconds
    where = ("--host", HOST, "--tracker", f"{HOST}:{port}", "--key", KEY)
    servers = []
    for _ in range(2):
        at = free_port()
        servers.append(started("tvm.exec.rpc_server", *where, "--port", at, "--port-end", at + 1))
    session = rpc.connect_tracker(HOST, port)
    wait_until(lambda: len(session.summary()["server_info"]) == 2)
    session.close()
    yield port, servers
    for process in (tracker, *servers):
        killed(process)


def test_a_server_that_is_killed_in_the_middle_loses_no_trial(farm):
    port, servers = farm
    choices = [option.choice for option in options(*problem_of_task(TASK))[:12]]
    with TrialRunner(Remote(HOST, port, KEY), children=2, rule=RULE) as runner:
        first = runner.run(TASK, choices[:4])
        assert [one.detail for one in first if one.steady is None] == []
        killer = threading.Timer(0.7, killed, (servers[0],))
        killer.start()
        found = first + runner.run(TASK, choices[4:8])
        killer.join()
        found += runner.run(TASK, choices[8:])
        assert servers[1].poll() is None
        assert {one.choice for one in found if one.steady} == set(choices)
        killed(servers[1])
        with pytest.raises(ToolNotFoundError, match=f"no device waits under the key {KEY}"):
            runner.run(TASK, choices[:1])
