"""The single kernels of a network: times as NVIDIA's profiling interface sees them, and waves, beside predictions."""

from __future__ import annotations

import math
import re
import statistics
from dataclasses import dataclass
from functools import partial

import tvm

from . import driver, timing

TRACED = 5
"""Runs whose kernels are traced; times are medians over them."""
KERNELS = ("conv2d", "depthwise", "dense_codebook", "channel_sums", "channel_gate")
"""Main kernels, one of each launch; what fills resting channels is not one."""
OURS = re.compile(rf"\bespalier::({'|'.join(KERNELS)})\b")
MANGLED = re.compile(f"8espalier({'|'.join(f'{len(one)}{one}' for one in KERNELS)})")


@dataclass(frozen=True)
class Trace:
    """ours: seconds of our main kernels in program order, for each run. kernels_s: of all kernels of a run together,
    those that TVM scheduled and copies included."""

    ours: list[list[float]]
    kernels_s: float


def trace(run) -> Trace:
    """What torch's interface to CUPTI sees of `TRACED` runs."""
    import torch  # without it nothing is traced

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(TRACED):
            run()
        torch.cuda.synchronize()
    events = [one for one in profile.events() if one.device_type == torch.autograd.DeviceType.CUDA]
    return trace_of([(one.name, one.time_range.start, one.time_range.elapsed_us() / 1e6) for one in events])


def trace_of(events: list[tuple[str, float, float]]) -> Trace:
    """The trace in what ran on the GPU in `TRACED` runs: name, start, seconds."""
    ours = [seconds for name, _, seconds in sorted(events, key=lambda one: one[1]) if OURS.search(name)]
    count = len(ours) // TRACED
    runs = [ours[number * count : (number + 1) * count] for number in range(TRACED)]
    return Trace(runs, sum(seconds for *_, seconds in events) / TRACED)


def main_node(library, launch: dict) -> driver.KernelNode:
    """The main kernel of a launch as the driver would launch it, on tensors of its own; nothing runs."""
    device = tvm.runtime.device(timing.DEVICE)
    tensors = [tvm.runtime.empty(tuple(shape), dtype, device) for shape, dtype in launch["tensors"]]
    function = library.get_function(launch["variant"], query_imports=True)
    launched = partial(function, *launch["numbers"], *tensors)
    (node,) = [one for one in timing.kernel_nodes(launched) if MANGLED.search(one.name)]
    return node


def waves(launch: dict, predicted: dict, node: driver.KernelNode, sms: int) -> dict:
    """How a launch fills the GPU: as predicted, and as its grid and the driver's occupancy of its kernel give it."""
    blocks, places = math.prod(node.grid), sms * node.resident
    count = -(-blocks // places)
    return {
        **{key: launch[key] for key in ("layer", "variant", "grid")},
        **{key: predicted[key] for key in ("resident", "waves", "tail")},
        "measured_grid": node.grid,
        "measured_resident": node.resident,
        "measured_waves": count,
        "measured_tail": 1 - blocks / (count * places),
    }


def matched(launches: list[dict], predictions: list[dict], runs: list[list[float]]) -> list[dict]:
    """What was predicted and measured of each launch; nothing is measured if the numbers of kernels differ."""
    complete = all(len(one) == len(launches) for one in runs)
    rows = []
    for number, (launch, predicted) in enumerate(zip(launches, predictions, strict=True)):
        seconds = statistics.median(one[number] for one in runs) if complete and runs else None
        rate = {"macs_s": launch["macs"] / seconds, "bytes_s": launch["bytes"] / seconds} if seconds else {}
        names = {key: launch[key] for key in ("layer", "variant", "grid", "registers", "macs", "bytes")}
        rows.append({**names, **predicted, "measured_s": seconds, **rate})
    return rows
