"""Times of replayed CUDA graphs, and the file that keeps what was found."""

from __future__ import annotations

import collections
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tvm
import tvm_ffi

from . import driver
from .driver import Event, Graph, KernelNode

DEVICE = "cuda"
"""Where tensors lie; the tests check these programs themselves on a CPU, with emulated kernels."""
REPLAYS, WARM_UP = 21, 3
LAUNCHES = 20
"""Of one kernel in a graph, or more, each on the next set of buffers; a time is the graph's over their number."""


class Record:
    """The results so far, on disk after every step; `left_s` says how long there is.

    facts: of the machine; None goes on with what is on disk. `begun` is the step at work, for `supervise`.
    """

    def __init__(self, path: Path, seconds: float, facts: dict | None):
        self.path, self.end = path, time.monotonic() + seconds
        kinds = ("checks", "kernels", "networks", "torch", "waves", "launches", "clocks", "skipped", "lost")
        new = {"facts": facts, **{kind: [] for kind in kinds}, "planned": {}, "finished": {}, "begun": None}
        self.results: dict = json.loads(path.read_text()) if facts is None else new

    def left_s(self) -> float:
        return self.end - time.monotonic()

    def add(self, kind: str, value) -> None:
        self.results[kind].append(value)
        self._write()

    def plan(self, groups: list[str]) -> None:
        """The group of each step that there is to do."""
        self.results["planned"] = dict(collections.Counter(groups))

    def finish(self, group: str) -> None:
        """A step of the group came to its end."""
        self.results["finished"][group] = self.results["finished"].get(group, 0) + 1
        self._write()

    def begin(self, number: int, name: str, group: str, limit_s: float) -> None:
        """A step begins; `supervise` ends this process if it takes longer than `limit_s`."""
        self.results["begun"] = {"number": number, "step": name, "group": group, "limit_s": limit_s}
        self._write()

    def _write(self) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(self.results, indent=1) + "\n")
        os.replace(fresh, self.path)  # whole, whenever this process ends


def on_device(array: np.ndarray) -> tvm.runtime.Tensor:
    return tvm.runtime.tensor(np.ascontiguousarray(array), tvm.runtime.device(DEVICE))


def synchronize() -> None:
    tvm.runtime.device(DEVICE).sync()


def graph_of(run) -> Graph:
    """A graph of what `run` launches through functions of TVM's."""
    synchronize()  # what is still being copied to the device would otherwise race with the graph's own stream
    return Graph(_on_a_stream(run))


def kernel_nodes(run) -> list[KernelNode]:
    """The kernels that `run` would launch through functions of TVM's."""
    return driver.kernel_nodes(_on_a_stream(run))


def _on_a_stream(run) -> Callable[[int], None]:
    def run_on(stream: int) -> None:
        with tvm_ffi.use_raw_stream(tvm_ffi.device(DEVICE, 0), stream):
            run()

    return run_on


def median_s(replay, launches: int = 1) -> dict:
    """Seconds of one launch of what `replay` puts on the default stream: the median and the quartiles over replays.

    Each follows another one, so that the GPU does not wait for this machine; `alone_s` is the median if it does.
    """
    times: dict[bool, list[float]] = {False: [], True: []}
    for follows, samples in times.items():
        for number in range(WARM_UP + REPLAYS):
            start, end = Event(), Event()
            if follows:
                replay()
            start.record()
            replay()
            end.record()
            seconds = end.seconds_since(start)
            if number >= WARM_UP:
                samples.append(seconds / launches)
    low, middle, high = statistics.quantiles(times[True], n=4)
    found = {"median_s": middle, "quartile1_s": low, "quartile3_s": high, "repeats": REPLAYS}
    return {**found, "alone_s": statistics.median(times[False])}
