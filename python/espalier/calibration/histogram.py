"""How often each value of a tensor occurs, and the range worth keeping.

The squared error of one value of 1e6 outweighs that of a million values around 1: alone it would ask for steps in which
all of these are 0. A tail belongs to the distribution if samples fill it; what a few samples reach far beyond all the
others is an outlier, and so is what becomes of it in every later layer.

A bin holds the values with the same upper half of a float32 (sign, exponent, 7 bits): its width follows the size of
its values, so that one outlier costs the others no resolution and nothing has to be known in advance.
"""

from __future__ import annotations

import numpy as np

from espalier.core.calibration import Range
from espalier.core.errors import InvalidInputError

RANGES = ("mse", "percentile", "minmax")
"""Ways to choose a range."""

LEFT_OUT = 1e-4
"""Share of the values that "percentile" leaves outside."""

OUTLYING, FEW = 8.0, 1 / 64
"""Samples are outliers if their largest magnitudes lie more than so many times above those of all the others, and they
are at most this share of the samples (or one of at least three)."""

LEAST_KEPT = 0.9
"""The search for the least error clips at most a tenth of the values that are not zero."""

_BINS = 1 << 16


class Histogram:
    """Counts of float32 values, their exact ends, and the largest magnitude in each sample."""

    def __init__(self):
        self.counts = np.zeros(_BINS, np.int64)
        self.low, self.high = np.inf, -np.inf
        self.peaks = np.zeros(0, np.float32)

    def add(self, values: np.ndarray) -> None:
        """Count an array [S, ...] of S samples; its values are finite."""
        values = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self.counts += np.bincount(values.reshape(-1).view(np.uint32) >> 16, minlength=_BINS)
        self.peaks = np.concatenate([self.peaks, np.maximum(values.max(1), -values.min(1))])

    def range(self, method: str, bits: int) -> Range:
        """The range by one of `RANGES`, for numbers of so many bits; it always reaches to zero.

        "minmax": all that was seen. "percentile": all but the share LEFT_OUT of largest magnitude.
        "mse": the one whose numbers have the least squared error.
        If one of the last two reaches to outliers, it is taken anew of what the other samples reach.
        """
        found = self._range(method, bits)
        if method == "minmax" or max(-found.low, found.high) <= self._ordinary_peak:
            return found
        return self.ordinary()._range(method, bits)

    @property
    def samples(self) -> int:
        """How many were counted."""
        return len(self.peaks)

    @property
    def outliers(self) -> int:
        """How many samples are outliers."""
        return int((self.peaks > self._ordinary_peak).sum())

    def ordinary(self) -> Histogram:
        """What samples that are no outliers reach, from any sample; the histogram itself if there are no others."""
        if not self.outliers:
            return self
        kept, limit = Histogram(), np.float32(self._ordinary_peak)
        kept.counts = np.where(np.arange(_BINS) % (_BINS // 2) <= limit.view(np.uint32) >> 16, self.counts, 0)
        kept.low, kept.high = max(self.low, float(-limit)), min(self.high, float(limit))
        kept.peaks = np.minimum(self.peaks, limit)
        return kept

    def lost(self, taken: Range, bits: int) -> float:
        """The share of the values other than 0 that become 0 by numbers of so many bits over the range."""
        magnitude, counts = self._magnitudes()
        counts = counts * (magnitude > np.finfo(np.float32).tiny)
        half_step = (taken.high - taken.low) / (2**bits - 1) / 2
        return float(counts[magnitude <= half_step].sum() / max(1, counts.sum()))

    @property
    def _ordinary_peak(self) -> float:
        """The largest magnitude in samples that are no outliers; samples of zeros do not count."""
        peaks = np.sort(self.peaks[self.peaks > 0])
        few = min(max(1, int(FEW * len(peaks))), (len(peaks) - 1) // 2)
        last = peaks[len(peaks) - 1 - few :] if len(peaks) else self.peaks[:1]
        apart = np.flatnonzero(last[1:] > OUTLYING * last[:-1])
        return float(last[apart[0] if len(apart) else -1])

    def _range(self, method: str, bits: int) -> Range:
        ends = min(self.low, 0.0), max(self.high, 0.0)
        if method == "minmax" or ends[0] == ends[1]:
            return Range(*ends)
        limit = self._percentile() if method == "percentile" else self._least_error(ends, 2**bits - 1)
        return Range(max(ends[0], -limit), min(ends[1], limit))

    def _percentile(self) -> float:
        magnitude, counts = self._magnitudes()
        return float(magnitude[np.searchsorted(np.cumsum(counts), (1 - LEFT_OUT) * counts.sum())])

    def _magnitudes(self) -> tuple[np.ndarray, np.ndarray]:
        """Upper ends of the magnitudes' bins, ascending, and their counts, both signs together."""
        both = self.counts[: _BINS // 2] + self.counts[_BINS // 2 :]
        used = np.flatnonzero(both)
        return _edge(used + 1), both[used]

    def _least_error(self, ends: tuple[float, float], steps: int) -> float:
        """The magnitude to clip at."""
        used = np.flatnonzero(self.counts)
        below, above = _edge(used % (_BINS // 2)), _edge(used % (_BINS // 2) + 1)
        counts, size = self.counts[used].astype(np.float64), (below + above) / 2
        size[below == 0] = 0  # zeros, and numbers too small to matter
        value, width = np.where(used >= _BINS // 2, -size, size), above - below
        limits, count = self._magnitudes()
        kept = np.cumsum(np.where(limits > limits[0], count, 0))
        candidates = limits[kept >= LEAST_KEPT * kept[-1]]
        errors = [_squared_error(value, width, counts, ends, limit, steps) for limit in candidates]
        return float(candidates[int(np.argmin(errors))])


def _squared_error(value, width, counts, ends, limit: float, steps: int) -> float:
    """Of numbers that reach to `limit` on either side, or to the ends; a bin is one value or spreads over steps."""
    low, high = max(ends[0], -limit), min(ends[1], limit)
    step = (high - low) / steps
    inside = np.clip(value, low, high)
    rounded = np.where(width < step / 2, (inside - np.rint(inside / step) * step) ** 2, step * step / 12)
    return float(counts @ (np.square(value - inside) + rounded * (value != 0)))


def _edge(number: np.ndarray) -> np.ndarray:
    """The least magnitude in the bins of these numbers, float64; beyond the largest number it is that."""
    edges = (number.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return np.where(np.isfinite(edges), edges, np.finfo(np.float32).max)


def checked_method(method) -> str:
    """`method`, if it is among RANGES; InvalidInputError otherwise."""
    if method not in RANGES:
        raise InvalidInputError(f"calibration ranges: got {method!r}, accepted are {', '.join(RANGES)}")
    return method
