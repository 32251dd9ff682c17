"""Kernels of several tasks get their times from one library, and those that misbehave cost only themselves."""

from __future__ import annotations

import math

import pytest
from oracles import faulty_kernels as faulty
from oracles.tuning import conv_task

from espalier.core.choices import Choice
from espalier.core.errors import ToolNotFoundError
from espalier.measure.single_kernels import SingleKernels
from espalier.measure.steady import SteadyRule
from espalier.measure.trial_runner import Limits
from espalier.targets.resolve import resolve_target

ONE_CORE = resolve_target({"kind": "llvm", "num-cores": 1})
LARGE, SMALL = conv_task(32, 32, 12, target=ONE_CORE), conv_task(16, 16, 4, 1, target=ONE_CORE)
QUICK = SteadyRule(least=3, most=4, clearly=math.inf)


def pair(task, columns: int):
    return task, Choice("blocked", (("blocks", 1), ("rows", 1), ("columns", columns)))


@pytest.fixture(scope="module")
def kernels():
    with SingleKernels(QUICK, Limits(run_s=2.0), kernels=faulty.__name__) as one:
        yield one


def test_kernels_of_several_tasks_get_their_times_in_order(kernels):
    large, small = kernels.run([pair(LARGE, 6), pair(SMALL, 5)])
    assert {large.state, small.state} <= {"ok", "disturbed"}
    assert (large.choice, small.choice) == (pair(LARGE, 6)[1], pair(SMALL, 5)[1])
    assert 2 * small.steady.timing.median_s < large.steady.timing.median_s < 1e-2
    assert kernels.best_reference_s < 1


@pytest.mark.parametrize(
    ("columns", "state"), [(faulty.CRASHING, "crashed"), (faulty.HANGING, "hung"), (faulty.UNBUILDABLE, "failed")]
)
def test_the_others_get_their_times(kernels, columns, state):
    first, bad, last = kernels.run([pair(LARGE, 6), pair(SMALL, columns), pair(LARGE, 7)])
    assert (bad.state, bad.steady) == (state, None)
    assert first.steady.timing.median_s > 0
    assert last.steady.timing.median_s > 0


def test_without_a_compiler_it_says_so(monkeypatch):
    monkeypatch.setattr("espalier.measure.single_kernels.cc.get_cc", lambda: None)
    with pytest.raises(ToolNotFoundError, match=r"install g\+\+"):
        SingleKernels()
