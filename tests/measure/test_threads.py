"""TVM computes with as many threads as it is told to. Its pool belongs to a Python thread, so each test has its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from oracles.networks import plain

import espalier
from espalier.core.errors import InvalidInputError
from espalier.measure.threads import cores, set_threads, threads


def in_a_new_thread(function):
    """The result of a function called in a Python thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_threads_are_obeyed_up_and_down():
    def count():
        found = []
        for wanted in (1, len(cores()), 1):
            set_threads(wanted)
            found.append(threads())
        return found

    assert in_a_new_thread(count) == [1, len(cores()), 1]


def test_the_caller_stays_free_to_run_anywhere():
    before = set(cores())

    def bound():
        set_threads(1)
        return set(cores())

    assert in_a_new_thread(bound) == before


@pytest.mark.parametrize("wanted", [0, -1, 1.5, 10_000])
def test_impossible_counts_are_refused(wanted):
    with pytest.raises(InvalidInputError, match=f"threads: got {wanted}, accepted are 1 to {len(cores())}"):
        in_a_new_thread(lambda: set_threads(wanted))


def test_a_pool_that_is_too_small_is_reported(monkeypatch):
    if len(cores()) < 2:
        pytest.skip("one core only")
    monkeypatch.setitem(os.environ, "TVM_NUM_THREADS", "1")

    def start_small_then_ask_for_more():
        assert threads() == 1
        set_threads(2)

    with pytest.raises(InvalidInputError, match="set them before the first run"):
        in_a_new_thread(start_small_then_ask_for_more)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs the kernel's times by thread")
@pytest.mark.parametrize("count", [1, 2])
def test_as_many_threads_work_as_were_asked_for(count):
    """By the processor time that each of the process's threads took while a network ran."""
    if len(cores()) < count:
        pytest.skip("one core only")
    artifact = espalier.build(plain(channels=64, size=32))
    x = np.zeros((1, 3, 32, 32), np.float32)

    def times():
        espalier.set_threads(count)
        artifact(x)
        time.sleep(1)  # workers that are not used spin for a while, then sleep
        before, spent = seconds_by_thread(), [0.0]
        while sum(spent) < 1:  # of the processors' time, however long that takes on a busy machine
            for _ in range(100):
                artifact(x)
            spent = [after - before.get(one, 0) for one, after in seconds_by_thread().items()]
        return sorted(spent, reverse=True)

    busiest = in_a_new_thread(times)
    assert busiest[count - 1] > 0.2 * busiest[0], busiest
    assert sum(busiest[count:]) < 0.1 * sum(busiest), busiest


def seconds_by_thread() -> dict[str, float]:
    """Processor seconds that each thread of this process has used."""
    found = {}
    for number in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{number}/schedstat") as file:
            found[number] = int(file.read().split()[0]) / 1e9
    return found


@pytest.mark.slow  # TVM's idle workers spin before they sleep: twenty seconds of the processors' time
def test_more_threads_than_cores_in_tvms_own_variable_change_nothing():
    """What such a count makes of the speed is TVM's; the outputs stay what they are."""
    code = (
        "import numpy as np, espalier; from oracles.networks import plain; x = np.ones((1, 3, 32, 32), np.float32)\n"
        "artifact = espalier.build(plain(channels=64, size=32))\n"
        "for _ in range(3): print(artifact(x).tobytes().hex())"
    )
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(__file__))}
    command = [sys.executable, "-c", code]
    outputs = {
        subprocess.run(
            command, env={**environment, "TVM_NUM_THREADS": number}, capture_output=True, text=True, check=True
        ).stdout
        for number in ("1", "64")
    }
    assert len(outputs) == 1
    assert len(set(outputs.pop().split())) == 1


def test_the_outputs_do_not_depend_on_the_number_of_threads():
    artifact = espalier.build(plain(channels=64, size=32))
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32)

    def run(count):
        espalier.set_threads(count)
        return artifact(x)

    outputs = [in_a_new_thread(lambda count=count: run(count)) for count in range(1, len(cores()) + 1)]
    for one in outputs:
        np.testing.assert_array_equal(one, outputs[0])
