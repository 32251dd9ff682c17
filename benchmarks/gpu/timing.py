"""Times of replayed CUDA graphs, and the file that keeps what was found."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import torch
import tvm_ffi

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


def graph_of(run) -> torch.cuda.CUDAGraph:
    """A graph of what `run` launches, after a warm-up."""
    stream = torch.cuda.Stream()
    with tvm_ffi.use_torch_stream(torch.cuda.stream(stream)):
        for _ in range(2):
            run()
    synchronize()
    graph = torch.cuda.CUDAGraph()
    with tvm_ffi.use_torch_stream(torch.cuda.graph(graph)):
        run()
    return graph


def median_s(replay, launches: int = 1) -> dict:
    """Seconds of one launch: the median and the quartiles over replays."""
    samples = []
    for number in range(WARM_UP + REPLAYS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        replay()
        end.record()
        end.synchronize()
        if number >= WARM_UP:
            samples.append(start.elapsed_time(end) / 1e3 / launches)
    low, middle, high = statistics.quantiles(samples, n=4)
    return {"median_s": middle, "quartile1_s": low, "quartile3_s": high, "repeats": REPLAYS}


def synchronize() -> None:
    """Wait for the GPU."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
