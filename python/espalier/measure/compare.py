"""Fair timing: the contenders take turns in one process, so that drift of the machine hits all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from espalier.core.measurement import Timing

CALM_SPREAD = 0.1


def interleave(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int = 20,
    min_sample_s: float = 0.01,
    settle_s: float = 0.0,
    after_round: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of one call of each contender, `rounds` samples each, by name.

    A sample is the mean over as many calls as fill `min_sample_s`. Calls that are not timed come before
    each sample, one and as many more as fill `settle_s`: they warm the caches and let the previous
    contender's threads fall asleep, which may spin for tens of milliseconds where there are several.
    The order rotates by one each round.
    """
    names = list(contenders)
    calls = {name: _calls_to_fill(contenders[name], min_sample_s) for name in names}
    samples: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            _settle(contenders[name], settle_s)
            samples[name].append(_mean_s(contenders[name], calls[name]))
        after_round()
    return samples


def summarise(samples: Mapping[str, list[float]]) -> dict[str, Timing]:
    """Median and quartiles of what `interleave` returns, by name."""
    return {name: Timing.of(seconds) for name, seconds in samples.items()}


def calm_timings(
    contenders: Mapping[str, Callable[[], object]], rounds: int = 20, settle_s: float = 0.0, attempts: int = 3
) -> dict[str, Timing]:
    """What `interleave` measures, summarised; measured again, at most `attempts` times, if something disturbed it."""
    for _ in range(attempts):
        timings = summarise(interleave(contenders, rounds, settle_s=settle_s))
        if not disturbed(timings):
            break
    return timings


def spread(timing: Timing) -> float:
    """Distance between the quartiles as a share of the median."""
    return (timing.quartile3_s - timing.quartile1_s) / timing.median_s if timing.median_s else 0.0


def disturbed(timings: Mapping[str, Timing], limit: float = CALM_SPREAD) -> list[str]:
    """The contenders whose quartiles lie further apart than `limit`: the machine did something else meanwhile."""
    return [name for name, timing in timings.items() if spread(timing) > limit]


def _calls_to_fill(call: Callable[[], object], seconds: float) -> int:
    call()
    return max(1, round(seconds / max(_mean_s(call, 3), 1e-9)))


def _settle(call: Callable[[], object], seconds: float) -> None:
    end = time.perf_counter() + seconds
    call()
    while time.perf_counter() < end:
        call()


def _mean_s(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls
