"""TVM computes with as many threads as it is told to. Its pool belongs to a Python thread, so each test has its own."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

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
