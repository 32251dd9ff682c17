"""Trials whose times are known, without a process or a clock."""

from __future__ import annotations

from oracles.tuning import SPACES, true_seconds

from espalier.core.measurement import Timing
from espalier.measure.steady import Steady
from espalier.measure.trial_runner import Outcome


class SimulatedRunner:
    """Answers with true seconds. asked: every (task, choice). faults: state by choice, for those that go wrong."""

    def __init__(self, faults=None, interrupt_after: int = 10**9):
        self.asked, self.faults, self.interrupt_after = [], faults or {}, interrupt_after

    def run(self, task, choices):
        if len(self.asked) >= self.interrupt_after:
            raise KeyboardInterrupt
        self.asked += [(task, choice) for choice in choices]
        return [self._outcome(task, choice) for choice in choices]

    def _outcome(self, task, choice) -> Outcome:
        if choice in self.faults:
            return Outcome(choice, self.faults[choice], None, "as simulated")
        option = next(one for one in SPACES[task] if one.choice == choice)
        return Outcome(choice, "ok", Steady(Timing.of([true_seconds(task, option)]), True))
