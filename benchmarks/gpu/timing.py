"""Times of replayed CUDA graphs, and the file that keeps what was found."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import numpy as np
import tvm
import tvm_ffi

from .driver import Event, Graph

DEVICE = "cuda"
"""Where tensors lie; the tests check these programs themselves on a CPU, with emulated kernels."""
REPLAYS, WARM_UP = 21, 3
LAUNCHES = 20
"""Of one kernel in a graph, each on the next set of buffers; their number over the graph's time is a launch's."""


class Record:
    """The results so far, on disk after every step; `left_s` says how long there is."""

    def __init__(self, path: Path, seconds: float, facts: dict):
        self.path, self.end = path, time.monotonic() + seconds
        self.results: dict = {"facts": facts, "checks": [], "kernels": [], "networks": [], "torch": [], "skipped": []}

    def left_s(self) -> float:
        return self.end - time.monotonic()

    def add(self, kind: str, value) -> None:
        self.results[kind].append(value)
        self.path.write_text(json.dumps(self.results, indent=1) + "\n")


def on_device(array: np.ndarray) -> tvm.runtime.Tensor:
    return tvm.runtime.tensor(np.ascontiguousarray(array), tvm.runtime.device(DEVICE))


def synchronize() -> None:
    tvm.runtime.device(DEVICE).sync()


def graph_of(run) -> Graph:
    """A graph of what `run` launches through functions of TVM's."""

    def run_on(stream: int) -> None:
        with tvm_ffi.use_raw_stream(tvm_ffi.device(DEVICE, 0), stream):
            run()

    synchronize()  # what is still being copied to the device would otherwise race with the graph's own stream
    return Graph(run_on)


def median_s(replay, launches: int = 1) -> dict:
    """Seconds of one launch of what `replay` puts on the default stream: the median and the quartiles over replays."""
    samples = []
    for number in range(WARM_UP + REPLAYS):
        start, end = Event(), Event()
        start.record()
        replay()
        end.record()
        seconds = end.seconds_since(start)
        if number >= WARM_UP:
            samples.append(seconds / launches)
    low, middle, high = statistics.quantiles(samples, n=4)
    return {"median_s": middle, "quartile1_s": low, "quartile3_s": high, "repeats": REPLAYS}
