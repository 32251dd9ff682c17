"""A kernel's time comes from where it is known best: a network, the table, the model."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.tuning import CYCLE_S, SPACES, exact_samples, true_seconds

from espalier.core.errors import InvalidInputError
from espalier.tuning.cost_model.interface import Sample
from espalier.tuning.kernel_latencies import KernelLatencies
from espalier.tuning.network_work import Kernel

ADDED = 1.25
"""A network's kernel takes so many times what it takes alone."""

EVERY = [Kernel("layer", task, option) for task, space in SPACES.items() for option in space]


def seconds(kernel: Kernel) -> float:
    return true_seconds(kernel.task, kernel.option)


@pytest.fixture(scope="module")
def samples() -> tuple[list[Sample], list[Sample]]:
    """Kernels in networks, and alone; a third of the first are among the second."""
    alone = exact_samples(30)
    there = [Sample(one.task, one.option, ADDED * one.seconds) for one in exact_samples(10)]
    return there, alone


@pytest.fixture(scope="module")
def latencies(samples) -> KernelLatencies:
    found = KernelLatencies()
    found.fit(*samples)
    return found


def test_what_was_measured_in_networks_is_taken_as_it_is(latencies, samples):
    for one in samples[0]:
        assert latencies.predict([Kernel("layer", one.task, one.option)]).tolist() == [[one.seconds, 0.0]]


def test_what_was_measured_alone_is_moved_into_networks(latencies, samples):
    there = {(one.task, one.option) for one in samples[0]}
    moved = [Kernel("layer", one.task, one.option) for one in samples[1] if (one.task, one.option) not in there]
    assert len(moved) > 20
    found = latencies.predict(moved)
    assert found[:, 0] == pytest.approx([ADDED * seconds(one) for one in moved], rel=0.02)
    assert np.all((found[:, 1] > 0) & (found[:, 1] < 0.1))
    assert all(map(latencies.knows, moved))


def test_the_others_are_predicted_from_both(latencies):
    others = [one for one in EVERY if not latencies.knows(one)]
    errors = latencies.predict(others)[:, 0] / [ADDED * seconds(one) for one in others] - 1
    alone = KernelLatencies()
    alone.fit([Sample(one.task, one.option, ADDED * CYCLE_S * one.option.cycles) for one in EVERY[:1]])
    rule = alone.predict(others)[:, 0] / [ADDED * seconds(one) for one in others] - 1
    assert np.median(np.abs(errors)) < 0.03
    assert np.median(np.abs(errors)) < np.median(np.abs(rule)) / 2


def test_a_table_of_other_kernels_is_refused(samples):
    there = {(one.task, one.option) for one in samples[0]}
    others = [one for one in samples[1] if (one.task, one.option) not in there]
    with pytest.raises(InvalidInputError, match=f"none of {len(others)} single kernels is in a measured network"):
        KernelLatencies().fit(samples[0], others)


def test_arrays_say_the_same(latencies):
    again = KernelLatencies.of_arrays(latencies.arrays())
    assert again.predict(EVERY) == pytest.approx(latencies.predict(EVERY), rel=1e-6)


def test_no_kernels_take_no_time(latencies):
    assert latencies.predict([]).shape == (0, 2)
