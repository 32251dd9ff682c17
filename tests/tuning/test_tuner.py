"""The tuner on simulated trials: it measures where a network gains, survives faults, and goes on from records."""

from __future__ import annotations

import dataclasses

import pytest
from oracles.records import ENVIRONMENT
from oracles.simulated import SimulatedRunner
from oracles.tuning import SPACES, TASKS, true_seconds

from espalier.core.records import RecordedTimes, RecordFile
from espalier.tuning.budget import Budget
from espalier.tuning.cost_model.choose import new_model
from espalier.tuning.network_tasks import NetworkTask
from espalier.tuning.records import Notebook
from espalier.tuning.tune import SEARCHES
from espalier.tuning.tuner import BATCH, Tuner

NETWORK = [NetworkTask(task, tuple(space), (f"layer{number}",)) for number, (task, space) in enumerate(SPACES.items())]
BEST = {task: min(true_seconds(task, one) for one in space) for task, space in SPACES.items()}


def tuner(runner, notebook=None, tasks=NETWORK, model="gp", search="guided", environment=ENVIRONMENT) -> Tuner:
    return Tuner(tasks, runner, notebook or Notebook(None), environment, new_model(model), SEARCHES[search]())


def tuned(runner, trials: int, **more) -> Tuner:
    one = tuner(runner, **more)
    one.run(Budget(trials=trials))
    return one


def test_every_task_is_measured_first_and_the_network_comes_near_its_best():
    runner, told = SimulatedRunner(), []
    one = tuner(runner)
    assert one.run(Budget(trials=24), told.append) == "the budget is spent"
    assert len(runner.asked) == len(set(runner.asked)) == 24
    assert {task for task, _ in runner.asked[: 3 * BATCH]} == set(TASKS)
    assert sum(state.best[1] for state in one.states) <= 1.05 * sum(BEST.values())
    for state in one.states:
        assert state.rule_s == pytest.approx(true_seconds(state.work.task, state.work.space[0]))
    assert [progress.trials for progress in told] == list(range(4, 25, 4))
    assert told[-1].share == 1


def test_a_layer_that_occurs_often_gets_more_trials():
    counts = []
    for often in range(2):
        tasks = [
            dataclasses.replace(one, layers=("x",) * (400 if number == often else 1))
            for number, one in enumerate(NETWORK)
        ]
        runner = SimulatedRunner()
        tuned(runner, 24, tasks=tasks)
        counts.append(sum(task == NETWORK[often].task for task, _ in runner.asked))
    assert min(counts) >= 3 * BATCH


def test_it_ends_when_little_is_left_to_gain():
    runner = SimulatedRunner()
    small = [dataclasses.replace(one, space=one.space[:6]) for one in NETWORK]
    assert tuner(runner, tasks=small).run(Budget(trials=10**6)) == "little is left to gain"
    assert len(runner.asked) <= 18


@pytest.mark.parametrize("state", ["wrong", "crashed", "hung", "failed"])
def test_what_goes_wrong_is_recorded_and_not_tried_again(state):
    bad = NETWORK[0].space[0].choice
    runner, book = SimulatedRunner({bad: state}), Notebook(None)
    one = tuned(runner, 36, notebook=book)
    assert one.states[0].best[0] != bad
    assert one.states[0].rule_s is None
    assert [record.state for record in book.records if record.choice == bad and record.task == TASKS[0]] == [state]
    assert len(runner.asked) == len(set(runner.asked)) == 36


def test_an_interrupted_run_goes_on_from_its_records(tmp_path):
    first, second, whole = SimulatedRunner(interrupt_after=12), SimulatedRunner(), SimulatedRunner()
    with RecordFile(tmp_path / "r.db", write=True) as file, pytest.raises(KeyboardInterrupt):
        tuned(first, 36, notebook=Notebook(file))
    with RecordFile(tmp_path / "r.db", write=True) as file:
        one = tuned(second, 24, notebook=Notebook(file))
    assert not set(first.asked) & set(second.asked)
    assert sum(len(state.seen) for state in one.states) == 36
    known = RecordedTimes.read(tmp_path / "r.db", ENVIRONMENT)
    assert sum(len(known.seconds(task, space)) for task, space in SPACES.items()) == 36
    tuned(whole, 36)
    assert {task for task, _ in second.asked} <= {task for task, _ in whole.asked}


def test_records_of_another_environment_are_not_taken_for_measured():
    book, runner = Notebook(None), SimulatedRunner()
    tuned(SimulatedRunner(), 12, notebook=book, environment={**ENVIRONMENT, "compiler": "older"})
    one = tuned(runner, 12, notebook=book)
    assert sum(len(state.seen) for state in one.states) == 12


def test_what_other_networks_measured_is_learned_from():
    book = Notebook(None)
    tuned(SimulatedRunner(), 24, notebook=book, tasks=NETWORK[:2])
    one = tuner(SimulatedRunner(), notebook=book, tasks=NETWORK[2:])
    assert one.model.predict(TASKS[2], SPACES[TASKS[2]][:1]).deviation[0] < 0.3
    assert one.states[0].seen == {}


def test_a_full_disk_does_not_end_it(tmp_path):
    told = []
    with RecordFile(tmp_path / "r.db", write=True) as file:
        file._connection.execute("pragma max_page_count=1")
        one = tuned(SimulatedRunner(), 24, notebook=Notebook(file, told.append))
    assert sum(len(state.seen) for state in one.states) == len(one.notebook.records) == 24
    assert len(told) == 1
