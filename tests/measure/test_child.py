"""A child process answers, and whatever else it does, its parent goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from oracles import misbehaving

from espalier.measure.child import Child, ChildError


@pytest.fixture(scope="module")
def child():
    with Child() as one:
        yield one


def add(child) -> int:
    return child.call(misbehaving.add, 1, 2, timeout_s=5)


def test_an_answer_comes_from_another_process_that_stays(child):
    seen = {child.call(misbehaving.process_id, timeout_s=5) for _ in range(2)}
    assert len(seen | {os.getpid()}) == 2


def test_an_error_is_one_line_and_the_process_stays(child):
    before = child.call(misbehaving.process_id, timeout_s=5)
    with pytest.raises(ChildError, match="failed: ValueError: last line"):
        child.call(misbehaving.fail, timeout_s=5)
    assert child.call(misbehaving.process_id, timeout_s=5) == before


@pytest.mark.parametrize(
    ("function", "state"),
    [
        (misbehaving.crash, "crashed: signal SIGSEGV"),
        (misbehaving.leave, "crashed: exit code 3"),
        (misbehaving.hang, r"hung: no result in 0\.3 s"),
    ],
)
def test_the_next_call_is_answered(child, function, state):
    with pytest.raises(ChildError, match=state):
        child.call(function, timeout_s=0.3)
    assert add(child) == 3


def test_a_worker_that_was_killed_between_calls_is_replaced(child):
    os.kill(child.call(misbehaving.process_id, timeout_s=5), signal.SIGKILL)
    with pytest.raises(ChildError, match="crashed: signal SIGKILL"):
        add(child)
    assert add(child) == 3


def test_a_child_that_was_killed_between_calls_is_replaced(child):
    add(child)
    child._process.kill()
    assert add(child) == 3


def test_a_call_does_not_outlive_a_close():
    one = Child()
    assert add(one) == 3
    threading.Timer(0.3, one.close).start()
    with pytest.raises(ChildError, match="the process was closed"):
        one.call(misbehaving.hang, timeout_s=30)


def test_a_worker_that_kills_its_whole_child_is_given_up():
    with Child() as one:
        with pytest.raises(ChildError, match="crashed: its process ended twice"):
            one.call(misbehaving.kill_all, timeout_s=5)
        assert add(one) == 3


def test_a_child_that_hangs_ends_with_its_parent(tmp_path):
    program = (
        "import sys, threading; from espalier.measure.child import Child; from oracles import misbehaving\n"
        "child = Child(); print(child.call(misbehaving.process_id, timeout_s=30), flush=True)\n"
        "child.call(misbehaving.hang, timeout_s=60)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
    number = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    for _ in range(100):
        if not os.path.exists(f"/proc/{number}"):
            return
        time.sleep(0.1)
    pytest.fail("the child lives on")
