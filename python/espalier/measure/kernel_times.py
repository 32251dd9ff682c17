"""Times of a program's kernels where they run, less what looking at the clock adds.

A clock at both ends of each kernel adds a microsecond or two and takes room in the caches: in a network of 0.2 ms the
clocked kernels sum up to 1.4 times a plain run. So blocks of plain and of clocked runs take turns, and what the kernels
take more than a run is taken off again, the same from each call. Other work on the machine makes a block longer, never
shorter, and comes in spells of tens of milliseconds, so of the blocks' medians the lower quartile is taken.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tvm

from espalier.core.artifact import Artifact
from espalier.core.errors import InvalidInputError

from .local import WARM_UP, KernelClock

BLOCK_S = 0.02

LEAST_SHARE = 0.25
"""Of a kernel's clocked time is its own, however short it is."""


@dataclass(frozen=True)
class KernelSeconds:
    """run_s: of a whole run. kernels: by name, of all calls in a run. clock_s: what the clock added to each call."""

    run_s: float
    kernels: Mapping[str, float]
    clock_s: float


def kernel_seconds(artifact: Artifact, *args, blocks: int = 12, **named) -> KernelSeconds:
    """Time a program and each of its kernels on the given inputs; errors as of `Artifact.profile`.

    blocks: of plain runs and as many of clocked ones, of 20 ms each.
    """
    if not isinstance(blocks, int) or blocks < 1:
        raise InvalidInputError(f"kernel times: blocks is {blocks!r}, accepted is an integer from 1")
    inputs = [tvm.runtime.tensor(array) for array in artifact.bind(*args, **named)]
    inputs += artifact.program.parameter_tensors
    plain, machine = artifact.program.machine["main"], artifact.program.new_machine()
    clock = KernelClock({name: name for name in artifact.program.kernel_layers})
    machine.set_instrument(clock)
    clocked = machine["main"]
    for _ in range(WARM_UP):
        plain(*inputs)
        clocked(*inputs)
    runs, rows = [], []
    for _ in range(blocks):
        runs.append(_block(lambda: _timed(plain, inputs)))
        rows.append(_kernels_of_block(clock, clocked, inputs))
    kernels = {name: _lower_quartile([row[name] for row in rows]) for name in rows[0]}
    return _without_clock(_lower_quartile(runs), kernels, clock.calls)


def _timed(function: Callable, inputs: list) -> float:
    start = time.perf_counter()
    function(*inputs)
    return time.perf_counter() - start


def _block(run: Callable[[], float]) -> float:
    """The median of what `run` returns over a block."""
    found, end = [], time.perf_counter() + BLOCK_S
    while not found or time.perf_counter() < end:
        found.append(run())
    return statistics.median(found)


def _kernels_of_block(clock: KernelClock, function: Callable, inputs: list) -> dict[str, float]:
    """Of each kernel, the median over the runs of a block."""
    runs: list[dict[str, float]] = []

    def run() -> float:
        clock.reset()
        function(*inputs)
        runs.append(clock.seconds)
        return 0.0

    _block(run)
    return {name: statistics.median(one[name] for one in runs) for name in runs[0]}


def _lower_quartile(values: list[float]) -> float:
    return float(np.quantile(values, 0.25))


def _without_clock(run_s: float, kernels: Mapping[str, float], calls: Mapping[str, int]) -> KernelSeconds:
    clock_s = max(0.0, sum(kernels.values()) - run_s) / max(1, sum(calls.values()))
    own = {name: max(LEAST_SHARE * seconds, seconds - clock_s * calls[name]) for name, seconds in kernels.items()}
    return KernelSeconds(run_s, own, clock_s)
