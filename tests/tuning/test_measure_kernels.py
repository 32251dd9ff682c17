"""The table of kernels grows by what is missing, outlives the process, and keeps what failed apart."""

from __future__ import annotations

import pytest
from oracles.tuning import CYCLE_S, SPACES, conv_task

from espalier.core.errors import InvalidInputError
from espalier.core.measurement import Timing
from espalier.core.records import RecordFile
from espalier.measure.steady import Steady
from espalier.measure.trial_runner import Outcome
from espalier.targets.resolve import resolve_target
from espalier.tuning import measure_kernels as module
from espalier.tuning.budget import Budget
from espalier.tuning.measure_kernels import measure_kernels
from espalier.tuning.network_tasks import space_of
from espalier.tuning.network_work import AMOUNTS, Kernel, NetworkWork

FIRST, SECOND = list(SPACES)[:2]


class Machine:
    """Instead of processes: every kernel takes what the rule says. state: of its outcomes."""

    def __init__(self, state: str = "ok"):
        self.state, self.asked = state, []

    def __call__(self) -> Machine:
        return self

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *error) -> None:
        pass

    def run(self, pairs) -> list[Outcome]:
        self.asked += pairs
        return [self._outcome(*pair) for pair in pairs]

    def _outcome(self, task, choice) -> Outcome:
        if self.state == "crashed":
            return Outcome(choice, self.state, None, "signal SIGABRT")
        seconds = next(one.cycles for one in SPACES[task] if one.choice == choice) * CYCLE_S
        return Outcome(choice, self.state, Steady(Timing.of([seconds]), self.state == "ok"))


@pytest.fixture
def machine(monkeypatch):
    def install(state: str = "ok") -> Machine:
        one = Machine(state)
        monkeypatch.setattr(module, "SingleKernels", one)
        return one

    return install


def work(*kernels) -> NetworkWork:
    """A network of these (task, number of the choice)."""
    found = tuple(Kernel(f"layer{place}", task, SPACES[task][number]) for place, (task, number) in enumerate(kernels))
    return NetworkWork(found, dict.fromkeys(AMOUNTS, 0.0))


def test_each_kernel_is_measured_once(machine, tmp_path):
    first, done = machine(), []
    table = measure_kernels(
        [work((FIRST, 0), (FIRST, 0)), work((FIRST, 0), (SECOND, 2))],
        tmp_path / "records.db",
        tell=lambda *counts: done.append(counts),
    )
    assert first.asked == [(FIRST, SPACES[FIRST][0].choice), (SECOND, SPACES[SECOND][2].choice)]
    assert done == [(2, 2)]
    assert [(one.task, one.option.choice) for one in table] == first.asked
    assert [one.option.cycles for one in table] == [SPACES[FIRST][0].cycles, SPACES[SECOND][2].cycles]
    assert table[0].seconds == pytest.approx(SPACES[FIRST][0].cycles * CYCLE_S)
    second = machine()
    table = measure_kernels([work((FIRST, 0), (FIRST, 1))], tmp_path / "records.db")
    assert second.asked == [(FIRST, SPACES[FIRST][1].choice)]
    assert len(table) == 3


def test_a_budget_ends_it_and_a_later_call_goes_on(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "BATCH", 2)
    wanted = [work(*((FIRST, number) for number in range(5)))]
    machine()
    assert len(measure_kernels(wanted, tmp_path / "records.db", Budget(trials=3))) == 3
    rest = machine()
    assert len(measure_kernels(wanted, tmp_path / "records.db", "60s")) == 5
    assert len(rest.asked) == 2


def test_disturbed_kernels_are_left_out_and_measured_again(machine, tmp_path):
    wanted = [work((FIRST, 0), (FIRST, 1))]
    machine("disturbed")
    assert measure_kernels(wanted, tmp_path / "records.db") == []
    calm = machine()
    for _ in range(2):
        assert len(measure_kernels(wanted, tmp_path / "records.db")) == 2
    assert len(calm.asked) == 2


def test_what_crashed_is_kept_and_not_in_the_table(machine, tmp_path):
    machine("crashed")
    assert measure_kernels([work((FIRST, 0))], tmp_path / "records.db") == []
    with RecordFile(tmp_path / "records.db") as file:
        assert [one.state for one in file.read()] == ["crashed"]


def test_networks_of_several_targets_are_refused(machine):
    machine()
    other = conv_task(16, 16, 8, target=resolve_target({"kind": "llvm", "mcpu": "x86-64-v4", "num-cores": 1}))
    mixed = NetworkWork((Kernel("layer", other, SPACES[FIRST][0]),), dict.fromkeys(AMOUNTS, 0.0))
    with pytest.raises(InvalidInputError, match="got networks of 2 targets, accepted is one"):
        measure_kernels([work((FIRST, 0)), mixed])


def test_kernels_are_measured_on_this_machine(tmp_path):
    here = resolve_target({"kind": "llvm", "num-cores": 1})
    task = conv_task(16, 16, 4, 1, target=here)
    space = space_of(task)
    wanted = [NetworkWork((Kernel("layer", task, space[0]),), dict.fromkeys(AMOUNTS, 0.0))]
    table = measure_kernels(wanted, tmp_path / "records.db")
    with RecordFile(tmp_path / "records.db") as file:
        (record,) = file.read()
    assert (record.task, record.choice) == (task, space[0].choice)
    assert record.state in ("ok", "disturbed")
    assert 1e-8 < record.seconds < 1e-2
    assert [(one.task, one.option) for one in table] == [(task, space[0])] * (record.state == "ok")
