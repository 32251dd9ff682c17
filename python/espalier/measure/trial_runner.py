"""Trials of a task's choices in child processes: whatever a trial does, the others get their times."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tvm.support import cc

from espalier.core.choices import Choice, Task
from espalier.core.errors import ToolNotFoundError

from . import trials
from .child import Child, ChildError
from .devices import NO_DEVICE, Local, Remote
from .steady import Steady, SteadyRule


@dataclass(frozen=True)
class Limits:
    """Seconds after which a child is killed: a library of trials, the reference body, a run of trials for each."""

    build_s: float = 60.0
    prepare_s: float = 120.0
    run_s: float = 20.0


@dataclass(frozen=True)
class Outcome:
    """What became of a trial. state: one of `core.records.STATES`. detail: what went wrong."""

    choice: Choice
    state: str
    steady: Steady | None = None
    detail: str = ""


class TrialRunner:
    """Builds trials in several processes, and runs them in one, or in one for each of several remote devices.

    where: the device. children: processes; a remote device is asked for by each of them.
    kernels: the module that knows the tasks' kernels.
    Raises ToolNotFoundError if there is no C++ compiler to link with, or no device.
    """

    def __init__(
        self,
        where: Local | Remote | None = None,
        children: int = 2,
        rule: SteadyRule | None = None,
        limits: Limits | None = None,
        kernels: str = trials.CPU_KERNELS,
    ):
        if cc.get_cc() is None:
            raise ToolNotFoundError("tuning links kernels with a C++ compiler and there is none: install g++")
        self.where, self.rule, self.limits = where or Local(), rule or SteadyRule(), limits or Limits()
        self.kernels, self.best_reference_s = kernels, math.inf
        self._children = [Child(trials.CPU_KERNELS) for _ in range(children)]
        self._threads = ThreadPoolExecutor(children)
        self._folder = tempfile.TemporaryDirectory(prefix="espalier-tune-", ignore_cleanup_errors=True)
        self._numbers, self._data = itertools.count(), {}

    def run(self, task: Task, choices: Sequence[Choice]) -> list[Outcome]:
        """The outcome of each choice."""
        data = self._prepared(task)
        if isinstance(data, ChildError):
            return [Outcome(choice, "failed", None, f"reference body: {data.detail}") for choice in choices]
        functions, outcomes = self._build(task, choices)
        outcomes += self._run(task, data, functions)
        for library in {one.library for one in functions}:
            library.unlink(missing_ok=True)
        return outcomes

    def close(self) -> None:
        """End the children and remove their files."""
        for child in self._children:
            child.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._folder.cleanup()

    def __enter__(self) -> TrialRunner:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _prepared(self, task: Task) -> Path | ChildError:
        """The file of the task's data, or why there is none."""
        if task not in self._data:
            path = Path(self._folder.name) / f"{task.digest}.npz"
            try:
                self._children[-1].call(trials.prepare, self.kernels, task, path, timeout_s=self.limits.prepare_s)
                self._data[task] = path
            except ChildError as error:
                self._data[task] = error
        return self._data[task]

    def _build(self, task: Task, choices: Sequence[Choice]) -> tuple[list[trials.Function], list[Outcome]]:
        """The functions that could be built, and the outcomes of the others."""

        def build(child: Child, part: Sequence[Choice]) -> list[trials.Function]:
            library = Path(self._folder.name) / f"library{next(self._numbers)}.so"
            return child.call(trials.build, self.kernels, task, part, library, timeout_s=self.limits.build_s)

        return self._each(choices, build)

    def _run(self, task: Task, data: Path, functions: Sequence[trials.Function]) -> list[Outcome]:
        def run(child: Child, part: Sequence[trials.Function]) -> list[Outcome]:
            limit = self.limits.run_s * (1 + len(part) / 4)
            arguments = (self.kernels, task, data, part, self.where, self.rule, self.best_reference_s)
            results, best_s = child.call(trials.run, *arguments, timeout_s=limit)
            self.best_reference_s = min(self.best_reference_s, best_s)
            return [_outcome(result) for result in results]

        if isinstance(self.where, Local):
            done, failed = self._split(self._children[0], functions, run)
        else:
            done, failed = self._each(functions, lambda child, part: self._twice(child, part, run))
        return done + failed

    def _each(self, items: Sequence, work: Callable) -> tuple[list, list[Outcome]]:
        """What `work(child, items)` gave for parts of the items, one part for each child, and what failed."""
        parts = [list(items[number :: len(self._children)]) for number in range(len(self._children))]
        pairs = [(child, part) for child, part in zip(self._children, parts) if part]
        found = list(self._threads.map(lambda pair: self._split(*pair, work), pairs))
        return [one for done, _ in found for one in done], [one for _, failed in found for one in failed]

    def _split(self, child: Child, items: Sequence, work: Callable) -> tuple[list, list[Outcome]]:
        """`work` on all items, or on each alone if all together fail, so that one bad item costs only itself."""
        try:
            return (work(child, items) if items else []), []
        except ChildError as error:
            if NO_DEVICE in error.detail:
                raise ToolNotFoundError(
                    f"tuning: {error.detail}; start one with python -m tvm.exec.rpc_server"
                ) from None
            if len(items) == 1:
                choice = getattr(items[0], "choice", items[0])
                return [], [Outcome(choice, error.state, None, error.detail)]
        found = [self._split(child, [item], work) for item in items]
        return [one for done, _ in found for one in done], [one for _, failed in found for one in failed]

    def _twice(self, child: Child, items: Sequence, work: Callable) -> list[Outcome]:
        """Once more on another device, for the first one may be to blame."""
        try:
            return work(child, items)
        except ChildError:
            return work(child, items)


def _outcome(result: trials.Result) -> Outcome:
    if result.steady is None:
        return Outcome(result.choice, "wrong", None, f"{result.off:.3g} times as far off as rounding explains")
    return Outcome(result.choice, "ok" if result.steady.calm else "disturbed", result.steady)
