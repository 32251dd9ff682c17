"""Times of the single kernels of a replayed network, as NVIDIA's profiling interface sees them, beside predictions."""

from __future__ import annotations

import re
import statistics

TRACED = 5
"""Runs whose kernels are traced; times are medians over them."""
OURS = re.compile(r"\bespalier::(conv2d|depthwise|dense_codebook|channel_sums|channel_gate)\b")
"""Main kernels, one of each launch; what fills resting channels is not one."""


def kernel_times(run) -> list[list[float]]:
    """Seconds of our kernels in program order, for each of `TRACED` runs."""
    import torch  # its interface to CUPTI; without torch nothing is traced

    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(TRACED):
            run()
        torch.cuda.synchronize()
    events = [one for one in profile.events() if OURS.search(one.name)]
    events.sort(key=lambda one: one.time_range.start)
    seconds = [one.time_range.elapsed_us() / 1e6 for one in events]
    count = len(seconds) // TRACED
    return [seconds[number * count : (number + 1) * count] for number in range(TRACED)]


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
