"""Kernels of many tasks, each timed alone: a table rather than a contest.

What is timed is what the compiler takes by itself, so its numbers are not checked here, and one library holds kernels
of many tasks: a kernel costs a fraction of a trial (`trial_runner`). One that crashes or hangs costs only itself.
"""

from __future__ import annotations

import importlib
import itertools
import math
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tvm.support import cc

from espalier.core.choices import Choice, Task
from espalier.core.errors import ToolNotFoundError

from . import trials
from .child import Child, ChildError
from .devices import Local
from .steady import Reference, Steady, SteadyRule, steady_times
from .trial_runner import Limits, Outcome

RULE = SteadyRule(clearly=math.inf)
"""All are wanted as exactly as the fastest one."""


def build(kernels: str, pairs: Sequence[tuple[Task, Choice]], library: Path) -> Path:
    """Compile and link a library of kernels on one device."""
    module = importlib.import_module(kernels)
    module.library_of_trials(pairs[0][0], [module.Trial(*pair) for pair in pairs]).export_library(str(library))
    return library


def run(
    kernels: str, parts: Sequence[tuple[Sequence[tuple[Task, Choice]], Path]], rule: SteadyRule, best_reference_s: float
) -> tuple[list[Steady], float]:
    """Time each kernel of these libraries on random arguments; also the shortest time of the reference."""
    module, (first, _) = importlib.import_module(kernels), parts[0][0][0]
    session, timers = Local().session(module.cores_of(first), module.DEVICE), {}
    for number, (pairs, path) in enumerate(parts):
        library = session.load(path)
        for name, pair in zip(module.names_of(pairs), pairs):
            trial = module.Trial(*pair)
            arguments = trial.arguments(module.arrays_of(trial.task))
            cold, tensors = trial.is_cold(arguments), session.tensors(arguments)
            timers[f"{number} {name}"] = trials.timer(library, name, tensors, session, cold)
    reference = session.tensors(module.reference_arguments(first))
    steady = Reference(trials.timer(library, module.REFERENCE, reference, session, False), best_reference_s)
    times = steady_times(timers, steady, rule)
    return [times[name] for name in timers], steady.best_s


class SingleKernels:
    """Times kernels on this machine, in a process of its own.

    children: processes that compile. kernels: the module that knows them.
    Raises ToolNotFoundError if there is no C++ compiler to link with.
    """

    def __init__(
        self,
        rule: SteadyRule = RULE,
        limits: Limits | None = None,
        children: int = 2,
        kernels: str = trials.CPU_KERNELS,
    ):
        if cc.get_cc() is None:
            raise ToolNotFoundError("kernels are linked with a C++ compiler and there is none: install g++")
        self.rule, self.limits, self.kernels, self.best_reference_s = rule, limits or Limits(), kernels, math.inf
        self._children = [Child(kernels) for _ in range(children)]
        self._threads = ThreadPoolExecutor(children)
        self._folder = tempfile.TemporaryDirectory(prefix="espalier-kernels-", ignore_cleanup_errors=True)
        self._numbers = itertools.count()

    def run(self, pairs: Sequence[tuple[Task, Choice]]) -> list[Outcome]:
        """The outcome of each kernel, in this order; all tasks are of one device."""
        try:
            times = self._times(pairs)
        except ChildError as error:
            if len(pairs) == 1:
                return [Outcome(pairs[0][1], error.state, None, error.detail)]
            middle = len(pairs) // 2
            return self.run(pairs[:middle]) + self.run(pairs[middle:])
        return [
            Outcome(choice, "ok" if steady.calm else "disturbed", steady) for (_, choice), steady in zip(pairs, times)
        ]

    def _times(self, pairs: Sequence[tuple[Task, Choice]]) -> list[Steady]:
        """Of kernels all of which are well; ChildError otherwise."""
        size = -(-len(pairs) // len(self._children))
        parts = [pairs[start : start + size] for start in range(0, len(pairs), size)]

        def built(child: Child, part: Sequence[tuple[Task, Choice]]) -> Path:
            library = Path(self._folder.name) / f"library{next(self._numbers)}.so"
            return child.call(build, self.kernels, part, library, timeout_s=self.limits.build_s)

        libraries = list(self._threads.map(built, self._children, parts))
        limit_s = self.limits.run_s * (1 + len(pairs) / 4)
        arguments = (self.kernels, list(zip(parts, libraries)), self.rule, self.best_reference_s)
        times, self.best_reference_s = self._children[0].call(run, *arguments, timeout_s=limit_s)
        for library in libraries:
            library.unlink()
        return times

    def close(self) -> None:
        """End the processes and remove their files."""
        for child in self._children:
            child.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._folder.cleanup()

    def __enter__(self) -> SingleKernels:
        return self

    def __exit__(self, *error) -> None:
        self.close()
