"""Fair timing: the contenders take turns in one process, so that drift of the machine hits all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from espalier.core.measurement import Timing


def interleave(
    contenders: Mapping[str, Callable[[], object]], rounds: int = 20, min_sample_s: float = 0.01
) -> dict[str, list[float]]:
    """Seconds of one call of each contender, `rounds` samples each, by name.

    A sample is the mean over as many calls as fill `min_sample_s`. One call that is not timed comes before
    each sample: it warms the caches and lets the previous contender's threads fall asleep.
    The order rotates by one each round.
    """
    names = list(contenders)
    calls = {name: _calls_to_fill(contenders[name], min_sample_s) for name in names}
    samples: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            contenders[name]()
            samples[name].append(_mean_s(contenders[name], calls[name]))
    return samples


def summarise(samples: Mapping[str, list[float]]) -> dict[str, Timing]:
    """Median and quartiles of what `interleave` returns, by name."""
    return {name: Timing.of(seconds) for name, seconds in samples.items()}


def _calls_to_fill(call: Callable[[], object], seconds: float) -> int:
    call()
    return max(1, round(seconds / max(_mean_s(call, 3), 1e-9)))


def _mean_s(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls
