"""Trials that crash, hang, give wrong numbers or do not compile cost only themselves."""

from __future__ import annotations

import pytest
from oracles import faulty_kernels as faulty
from oracles.convolutions import problem_of

from espalier.codegen.cpu.spaces import options, problem_of_task, task_of
from espalier.core.choices import Choice
from espalier.core.errors import ToolNotFoundError
from espalier.core.layers import Activation, Conv2dSpec
from espalier.measure.steady import SteadyRule
from espalier.measure.trial_runner import Limits, TrialRunner
from espalier.targets.resolve import resolve_target

QUICK = SteadyRule(least=3, most=4)
SPEC = Conv2dSpec("conv", ("x", "weight", "bias"), Activation("relu"), padding=(1,) * 4)
TASK = task_of(problem_of(SPEC, 1, 16, 32, (8, 8), (3, 3)), resolve_target({"kind": "llvm", "num-cores": 1}))


def blocked(columns: int) -> Choice:
    return Choice("blocked", (("blocks", 1), ("rows", 1), ("columns", columns)))


@pytest.fixture(scope="module")
def runner():
    with TrialRunner(children=2, rule=QUICK, limits=Limits(run_s=2.0), kernels=faulty.__name__) as one:
        yield one


def states(runner, *columns: int) -> dict[int, str]:
    outcomes = runner.run(TASK, [blocked(one) for one in columns])
    assert all((one.steady is not None) == (one.state in ("ok", "disturbed")) for one in outcomes)
    measured = {dict(one.choice.sizes)["columns"]: one.state for one in outcomes}
    return {column: "measured" if state in ("ok", "disturbed") else state for column, state in measured.items()}


def test_choices_of_every_family_get_their_times(runner):
    sound = [one.choice for one in options(*problem_of_task(TASK)) if dict(one.choice.sizes).get("columns", 9) > 4]
    choices = list({choice.family: choice for choice in sound}.values())
    assert len(choices) > 1
    outcomes = {one.choice: one for one in runner.run(TASK, choices)}
    assert set(outcomes) == set(choices)
    assert all(1e-7 < one.steady.timing.median_s < 1e-2 for one in outcomes.values())
    assert runner.best_reference_s < 1


@pytest.mark.parametrize(
    ("columns", "state"),
    [(faulty.CRASHING, "crashed"), (faulty.HANGING, "hung"), (faulty.WRONG, "wrong"), (faulty.UNBUILDABLE, "failed")],
)
def test_the_others_get_their_times(runner, columns, state):
    assert states(runner, 6, columns, 7, 8) == {6: "measured", columns: state, 7: "measured", 8: "measured"}


def test_a_task_whose_reference_fails_has_no_times(runner):
    broken = type(TASK)(TASK.operator, {**TASK.facts, "strides": [0, 0]}, TASK.device)
    (outcome,) = runner.run(broken, [blocked(6)])
    assert (outcome.state, outcome.steady) == ("failed", None)
    assert outcome.detail.startswith("reference body: ")


def test_without_a_compiler_it_says_so(monkeypatch):
    monkeypatch.setattr("espalier.measure.trial_runner.cc.get_cc", lambda: None)
    with pytest.raises(ToolNotFoundError, match=r"install g\+\+"):
        TrialRunner()
