"""Tunes the tasks of a network: measures where the network is expected to gain most, until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from espalier.core.choices import Choice, Option, Task
from espalier.core.records import Record, environment_text
from espalier.measure.trial_runner import Outcome, TrialRunner

from .budget import Budget
from .cost_model.interface import CostModel, Sample
from .network_tasks import NetworkTask, space_of
from .records import Notebook, now
from .search.interface import Proposal, Search

BATCH = 4
"""Trials that are built and timed together."""

LITTLE = 1e-3
"""Of the network's time: when no batch is expected to gain as much, tuning ends, unless it is told another share."""

STALE = 6
"""Steps after which a proposal is made again, for the cost model has learned from other tasks."""


@dataclass
class TaskState:
    """What is known of a task. seen: seconds by choice, infinite for what went wrong."""

    work: NetworkTask
    seen: dict[Choice, float] = field(default_factory=dict)
    proposal: Proposal = field(default_factory=Proposal)
    proposed_at: int = -1

    @property
    def best(self) -> tuple[Choice, float] | None:
        """The fastest choice and its seconds, None before anything was measured."""
        found = min(self.seen.items(), key=lambda pair: pair[1], default=None)
        return found if found and np.isfinite(found[1]) else None

    @property
    def rule_s(self) -> float | None:
        """Seconds of what the analytic rule takes, None if that was not measured."""
        seconds = self.seen.get(self.work.space[0].choice, np.inf)
        return float(seconds) if np.isfinite(seconds) else None


@dataclass(frozen=True)
class Progress:
    """After a batch. task: that it was for. outcomes: of its trials. share: of the budget that is spent."""

    state: TaskState
    outcomes: Sequence[Outcome]
    trials: int
    share: float


class Tuner:
    """Chooses tasks and choices, and keeps what it measures.

    A task's gain counts as often as the network has layers of it. What the notebook holds already, of this network or
    of others, is not measured again but learned from.
    """

    def __init__(
        self,
        tasks: Sequence[NetworkTask],
        runner: TrialRunner,
        notebook: Notebook,
        environment: Mapping[str, str],
        model: CostModel,
        search: Search,
        seed: int = 0,
        little: float = LITTLE,
    ):
        self.states = [TaskState(task) for task in tasks]
        self.runner, self.notebook, self.environment = runner, notebook, environment
        self.model, self.search, self.random, self.little = model, search, np.random.default_rng(seed), little
        self._samples: list[Sample] = []
        self._spaces = {one.work.task: {option.choice: option for option in one.work.space} for one in self.states}
        self._steps = 0
        self._learn(
            one for one in notebook.records if environment_text(one.environment) == environment_text(environment)
        )

    def run(self, budget: Budget, tell: Callable[[Progress], None] = lambda progress: None) -> str:
        """Tune until the budget is spent or little is left to gain; returns which. May be interrupted at any time."""
        budget.start()
        while True:
            state = self._next()
            if state is None:
                return "little is left to gain"
            count = budget.batch_of(len(state.proposal.options))
            if count < 1:
                return "the budget is spent"
            started = time.monotonic()
            outcomes = self._measure(state, state.proposal.options[:count])
            budget.spend(count, time.monotonic() - started)
            tell(Progress(state, outcomes, budget.spent_trials, budget.share_spent()))

    def _next(self) -> TaskState | None:
        """The task whose next batch is expected to gain the network most, None if none is worth it."""
        self._steps += 1
        for state in self.states:
            if state.proposed_at < 0 or self._steps - state.proposed_at > STALE:
                self._propose(state)
        open_ones = [state for state in self.states if state.proposal.options]
        best = max(open_ones, key=self._worth, default=None)
        if best is None or (best.seen and self._worth(best)[1] < self.little * self._network_s()):
            return None
        return best

    def _worth(self, state: TaskState) -> tuple[bool, float]:
        """A task of which nothing is known comes first; then what the network gains by the next batch."""
        return not state.seen, len(state.work.layers) * (state.proposal.gain_s if state.seen else self._seconds(state))

    def _seconds(self, state: TaskState) -> float:
        """Of one layer, as far as is known; predicted before anything was measured."""
        return state.best[1] if state.best else self._predicted(state)

    def _predicted(self, state: TaskState) -> float:
        return float(np.exp(self.model.predict(state.work.task, state.work.space[:1]).log_seconds[0]))

    def _network_s(self) -> float:
        return sum(len(state.work.layers) * self._seconds(state) for state in self.states)

    def _propose(self, state: TaskState) -> None:
        arguments = (state.work.task, state.work.space, state.seen, self.model, BATCH, self.random)
        state.proposal, state.proposed_at = self.search.propose(*arguments), self._steps

    def _measure(self, state: TaskState, options: Sequence[Option]) -> list[Outcome]:
        outcomes = self.runner.run(state.work.task, [option.choice for option in options])
        records = [record_of(state.work.task, one, self.environment) for one in outcomes]
        self.notebook.add(records)
        self._learn(records)
        self._propose(state)
        return outcomes

    def _learn(self, records) -> None:
        """Take records into account."""
        by_task = {state.work.task: state for state in self.states}
        for record in records:
            if record.task in by_task:
                seen = by_task[record.task].seen
                seen[record.choice] = record.seconds if record.seconds else np.inf
            option = self._option(record)
            if record.seconds and option:
                self._samples.append(Sample(record.task, option, record.seconds))
        if self._samples:
            self.model.fit(self._samples)

    def _option(self, record: Record) -> Option | None:
        """The choice with the cycles that the rule predicts today; None if it is no longer one."""
        if record.task not in self._spaces:
            self._spaces[record.task] = {option.choice: option for option in space_of(record.task)}
        return self._spaces[record.task].get(record.choice)


def record_of(task: Task, outcome: Outcome, environment: Mapping[str, str]) -> Record:
    """The record of a trial that was run now."""
    measured = {}
    if outcome.steady:
        timing = outcome.steady.timing
        measured = {"seconds": timing.median_s, "spread": outcome.steady.spread, "repeats": timing.repeats}
    return Record(task, outcome.choice, environment, outcome.state, detail=outcome.detail, date=now(), **measured)
