"""Taking turns: everyone gets its rounds, the order rotates, noise is reported."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from espalier.core.errors import InvalidInputError
from espalier.core.measurement import Timing
from espalier.measure import compare
from espalier.measure.agreement import Agreement, first_outputs, top1


def test_each_contender_gets_its_rounds():
    seen = []
    contenders = {"short": lambda: sum(range(100)), "long": lambda: sum(range(100_000))}
    samples = compare.interleave(contenders, 5, 1e-4, after_round=lambda: seen.append(1))
    assert [len(seconds) for seconds in samples.values()] == [5, 5]
    assert len(seen) == 5
    summary = compare.summarise(samples)
    assert summary["short"].median_s < summary["long"].median_s


def test_the_order_rotates():
    calls = []
    contenders = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    compare.interleave(contenders, 3, 0)
    measured = calls[3 * 4 :]  # before that, each was called four times to learn how long it takes
    assert [name for name, _ in itertools.groupby(measured)] == list("abcbcacab")


def test_a_fast_contender_is_called_more_often():
    counts = {"fast": 0, "slow": 0}

    def fast():
        counts["fast"] += 1

    def slow():
        counts["slow"] += 1
        time.sleep(0.005)

    compare.interleave({"fast": fast, "slow": slow}, 2, 0.005)
    assert counts["fast"] > 20 * counts["slow"]


def test_settling_takes_its_time():
    count = 0

    def call():
        nonlocal count
        count += 1
        time.sleep(0.001)

    compare.interleave({"only": call}, 2, 0, settle_s=0.02)
    assert count > 4 + 2 * 2  # more than one call settles each sample


def test_spread_tells_a_disturbed_machine():
    calm, noisy = Timing(1.0, 0.99, 1.01, 9), Timing(1.0, 0.9, 1.3, 9)
    assert compare.spread(noisy) == pytest.approx(0.4)
    assert compare.disturbed({"calm": calm, "noisy": noisy}) == ["noisy"]
    assert compare.spread(Timing(0.0, 0.0, 0.0, 1)) == 0.0


@pytest.mark.parametrize(("noisy", "runs"), [(0, 1), (1, 2), (9, 3)])
def test_a_disturbed_comparison_is_repeated(monkeypatch, noisy, runs):
    done = []

    def interleaved(contenders, rounds, settle_s):
        done.append((rounds, settle_s))
        return {"f": [1.0, 1.0, 9.0, 9.0] if len(done) <= noisy else [1.0, 1.0, 1.0, 1.0]}

    monkeypatch.setattr(compare, "interleave", interleaved)
    timings = compare.calm_timings({"f": int}, rounds=4, settle_s=0.5)
    assert done == [(4, 0.5)] * runs
    assert bool(compare.disturbed(timings)) == (noisy == 9)


def test_agreement_of_outputs():
    reference = np.float32([[1, 2, 3], [9, 8, 7]])
    same = Agreement.of(reference + np.float32(1e-6), reference)
    assert same.within_float32
    assert same.same_class == 1.0
    other = Agreement.of(np.float32([[1, 2, 3], [7, 8, 9]]), reference)
    assert (other.max_difference, other.largest, other.same_class) == (2.0, 9.0, 0.5)
    assert not other.within_float32
    with pytest.raises(InvalidInputError, match=r"one is \[2, 3\], the other \[2\]"):
        Agreement.of(reference, reference[:, 0])


def test_accuracy_on_batches():
    batches = [{"x": np.float32([[0, 1]])}, {"x": np.float32([[1, 0]])}]
    outputs = first_outputs(lambda batch: [batch["x"]], batches)
    assert outputs.shape == (2, 2)
    assert top1(outputs, np.array([1, 1])) == 0.5
    with pytest.raises(InvalidInputError, match=r"labels: got \[1\], accepted is \[2\]"):
        top1(outputs, np.array([1]))
