"""Times that can be compared: contenders by turns, as many samples as it takes, none from a disturbed moment.

A reference whose time never changes on an idle machine runs before and after each round; where it takes longer than it
ever did, the machine does something else, and the round does not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from espalier.core.measurement import Timing

from .compare import spread


@dataclass(frozen=True)
class SteadyRule:
    """When to stop.

    least, most: samples of a contender; up to twice `most` rounds, those that do not count included.
    tight: half of the median's interval of 95 %, as a share of the median, at which a contender is settled.
    clearly: a contender is settled too when its interval lies beyond so many times the best one's median.
    calm: the reference may take so many times its best.
    """

    least: int = 4
    most: int = 10
    tight: float = 0.01
    clearly: float = 1.1
    calm: float = 1.1


@dataclass
class Reference:
    """The call whose time tells a disturbed machine. best_s: the shortest time seen, here or before."""

    call: Callable[[], float]
    best_s: float = math.inf

    def is_calm(self, limit: float) -> bool:
        """Time it once."""
        seconds = self.call()
        self.best_s = min(self.best_s, seconds)
        return seconds <= limit * self.best_s


@dataclass(frozen=True)
class Steady:
    """Seconds of a contender. calm: whether the samples come from undisturbed rounds."""

    timing: Timing
    calm: bool

    @property
    def spread(self) -> float:
        """Distance between the quartiles as a share of the median."""
        return spread(self.timing)


@dataclass
class _Samples:
    calm: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def interval(self) -> tuple[float, float]:
        """About 95 % for comparing medians: McGill, Tukey and Larsen, Variations of box plots, 1978, section 4."""
        timing = Timing.of(self.calm)
        half = 1.57 * (timing.quartile3_s - timing.quartile1_s) / math.sqrt(timing.repeats)
        return timing.median_s - half, timing.median_s + half

    def result(self, least: int) -> Steady:
        enough = len(self.calm) >= least
        return Steady(Timing.of(self.calm if enough else [*self.calm, *self.others]), enough)


def steady_times(
    contenders: Mapping[str, Callable[[], float]], reference: Reference, rule: SteadyRule
) -> dict[str, Steady]:
    """Each contender's times, by name; a call times its contender once and returns seconds."""
    samples = {name: _Samples() for name in contenders}
    calm_before = reference.is_calm(rule.calm)
    for turn in range(2 * rule.most):
        open_ones = [name for name in contenders if not _is_settled(name, samples, rule)]
        if not open_ones:
            break
        shift = turn % len(open_ones)
        taken = {name: contenders[name]() for name in open_ones[shift:] + open_ones[:shift]}
        calm_after = reference.is_calm(rule.calm)
        for name, seconds in taken.items():
            kept = samples[name].calm if calm_before and calm_after else samples[name].others
            kept.append(seconds)
        calm_before = calm_after
    return {name: one.result(rule.least) for name, one in samples.items()}


def _is_settled(name: str, samples: Mapping[str, _Samples], rule: SteadyRule) -> bool:
    if len(samples[name].calm) < rule.least:
        return False
    low, high = samples[name].interval()
    medians = [Timing.of(one.calm).median_s for one in samples.values() if len(one.calm) >= rule.least]
    beyond = low > rule.clearly * min(medians)
    return len(samples[name].calm) >= rule.most or beyond or (high - low) / 2 <= rule.tight * (low + high) / 2
