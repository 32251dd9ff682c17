"""What child processes do for a tuner: build a library of trials, and run it.

`kernels` names the module that knows the kernels, such as espalier.codegen.cpu.trial.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import tvm

from espalier.core.choices import Choice, Task

from .devices import Local, Remote, Session
from .steady import Reference, Steady, SteadyRule, steady_times

CPU_KERNELS, CUDA_KERNELS = "espalier.codegen.cpu.trial", "espalier.codegen.cuda.trial"

SAMPLE_S = 0.002
"""A sample repeats a call until it lasts about so long."""

FLUSH = "cache_flush_cpu_non_first_arg"
"""TVM's function that drives all arguments but the first, the image, out of the caches. Writing over a large buffer
instead leaves the caches full of what has to be written back first: weights then take up to a third longer to read."""

MOST_CALLS = 1000
COLD_RUNS = 3
"""A sample of cold weights is the median of so many runs: each is a single one, and unevenly long."""


@dataclass(frozen=True)
class Function:
    """A choice as a function of a library."""

    choice: Choice
    library: Path
    name: str


@dataclass(frozen=True)
class Result:
    """What became of a choice. off: difference from the reference's output, as a multiple of what rounding explains.

    steady: its times; None if the output is wrong.
    """

    choice: Choice
    off: float
    steady: Steady | None


def build(kernels: str, task: Task, choices: Sequence[Choice], library: Path) -> list[Function]:
    """Compile and link a library of choices."""
    module = importlib.import_module(kernels)
    module.library_of(task, choices).export_library(str(library))
    return [Function(choice, library, name) for choice, name in zip(choices, module.names_of(choices))]


def prepare(kernels: str, task: Task, data: Path) -> None:
    """Write random arguments of the task and what its reference body makes of them."""
    module = importlib.import_module(kernels)
    arrays = module.arrays_of(task)
    np.savez(data, expected_output=module.expected_of(task, arrays), **arrays)


def run(
    kernels: str, task: Task, data: Path, functions: Sequence[Function], where: Local | Remote, rule: SteadyRule,
    best_reference_s: float,
) -> tuple[list[Result], float]:  # fmt: skip
    """Check every function once, then time those that are right; also the shortest time of the reference."""
    module = importlib.import_module(kernels)
    session = where.session(module.cores_of(task), module.DEVICE)
    libraries = {path: session.load(path) for path in {one.library for one in functions}}
    arrays = dict(_load(data))
    expected, off, timers = arrays.pop("expected_output"), {}, {}
    for one in functions:
        trial, library = module.Trial(task, one.choice), libraries[one.library]
        arguments = trial.arguments(arrays)
        tensors = session.tensors(arguments)
        library[one.name](*tensors)
        off[one.choice] = trial.difference(tensors[-1].numpy(), arrays, expected)
        if off[one.choice] <= 1:
            timers[one.choice] = timer(library, one.name, tensors, session, trial.is_cold(arguments))
    reference = session.tensors(module.reference_arguments(task))
    library = libraries[functions[0].library]
    steady = Reference(timer(library, module.REFERENCE, reference, session, False), best_reference_s)
    times = steady_times(timers, steady, rule)
    return [Result(choice, value, times.get(choice)) for choice, value in off.items()], steady.best_s


def timer(library: tvm.runtime.Module, name: str, tensors: list, session: Session, cold: bool) -> Callable[[], float]:
    """A call that returns seconds of one run: the mean over a sample, or of one run with weights out of the caches."""
    if cold:
        timed = library.time_evaluator(name, session.device, number=1, repeat=COLD_RUNS, f_preproc=FLUSH)
        return lambda: timed(*tensors).median
    once = library.time_evaluator(name, session.device, number=1)(*tensors).mean
    number = min(MOST_CALLS, max(1, math.ceil(SAMPLE_S / max(once, 1e-9))))
    timed = library.time_evaluator(name, session.device, number=number)
    return lambda: timed(*tensors).mean


@lru_cache(maxsize=4)
def _load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}
