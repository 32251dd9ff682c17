"""What a fit starts from: the checked weights of a layer, a row for each output channel."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from espalier.core.errors import InvalidInputError
from espalier.core.formats import Format
from espalier.core.quantized_weights import QuantizedWeights

from .nearest import nearest_codes

BLOCK = 2**15
"""Weights that are worked on at once: what stays in a core's cache."""
LEAST_SCALE = np.finfo(np.float32).tiny
FALLBACK_SCALE = np.float32(2**-7)
LEAST_IMPORTANCE = 2.0**-20


@dataclass(frozen=True)
class Problem:
    """The weights of a layer, each channel divided by its peak.

    weights: float32 [C, n], 0 where the mask is False.
    rows: the same divided by the peaks, in [-1, 1].
    peak: float32 [C], the greatest magnitude of each channel; 1 for a channel of zeros.
    importance: float32 [C, n] or None, what a squared error counts.
    shape: of the weight.
    is_pruned: whether a mask holds weights at zero.
    """

    weights: np.ndarray
    rows: np.ndarray
    peak: np.ndarray
    importance: np.ndarray | None
    shape: tuple[int, ...]
    is_pruned: bool

    @staticmethod
    def of(weight, mask=None, importance=None) -> Problem:
        """Check the arguments of `fit` and bring them into rows."""
        with np.errstate(over="ignore"):  # what is too great for float32 is refused as infinite
            weight = np.asarray(weight, np.float32)
        if weight.ndim == 0 or weight.size == 0 or not np.isfinite(weight).all():
            what = "a value that is not finite" if weight.size else "no value"
            raise InvalidInputError(f"weight {list(weight.shape)}: got {what}, accepted is finite float32 [C_out, ...]")
        if mask is not None:
            mask = _fitting_mask(mask, weight.shape)
            weight = np.where(mask, weight, np.float32(0))
        weights = weight.reshape(len(weight), -1)
        peak = np.abs(weights).max(axis=1)
        peak[peak == 0] = 1
        return Problem(
            weights,
            weights / peak[:, None],
            peak,
            None if importance is None else _importance_rows(importance, weight.shape),
            weight.shape,
            mask is not None and not mask.all(),
        )

    @functools.cached_property
    def energy(self) -> float:
        """The squared error of the layer if every weight were 0."""
        weighted = self.rows if self.importance is None else self.rows * self.importance
        return float(np.einsum("ij,ij->i", weighted, self.rows, dtype=np.float64) @ self.peak.astype(np.float64) ** 2)

    def blocks(self, array: np.ndarray | None = None) -> Iterator[tuple[slice, np.ndarray, np.ndarray | None]]:
        """Some channels at a time: which, their part of `array` (by default of `rows`), their importance."""
        array = self.rows if array is None else array
        step = max(1, BLOCK // self.rows.shape[1])
        for start in range(0, len(self.rows), step):
            part = slice(start, start + step)
            yield part, array[part], None if self.importance is None else self.importance[part]

    def quantized(self, fmt: Format, levels: np.ndarray, scale: np.ndarray) -> QuantizedWeights:
        """Every weight as the nearest of the levels; scale [C] as from `absolute`, or given."""
        scale = scale.astype(np.float32)
        codes = np.empty(self.weights.shape, np.uint8)
        for part, weights, _ in self.blocks(self.weights):
            codes[part] = nearest_codes(weights / scale[part, None], levels)
        return QuantizedWeights(fmt, codes.reshape(self.shape), levels.astype(np.int8), scale)

    def absolute(self, scale: np.ndarray) -> np.ndarray:
        """The scale of each channel, float32 [C], from one in units of the peaks.

        A channel of zeros gets the greatest of the others, so that its bias is kept in steps like theirs.
        """
        found = np.maximum(self.peak * scale, LEAST_SCALE).astype(np.float32)
        is_zero = ~self.rows.any(axis=1)
        found[is_zero] = found[~is_zero].max(initial=0) or FALLBACK_SCALE
        return found


def _fitting_mask(mask, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.shape != shape:
        raise InvalidInputError(f"mask: got {mask.dtype} {list(mask.shape)}, accepted is bool {list(shape)}")
    return mask


def _importance_rows(importance, shape: tuple[int, ...]) -> np.ndarray:
    """The importance of every weight, 1 on average; in a channel without any, all weights count the same little."""
    given = np.asarray(importance, np.float64)
    try:
        rows = np.broadcast_to(given, shape).reshape(shape[0], -1)
    except ValueError:
        rows = None
    if rows is None or not np.isfinite(rows).all() or (rows < 0).any():
        what = f"{list(given.shape)}" if rows is None else "a value that is not finite or below zero"
        raise InvalidInputError(f"importance: got {what}, accepted are finite values that broadcast to {list(shape)}")
    relative = rows / (rows.max() or 1)
    relative = relative / (relative.mean() or 1)
    return np.where(relative.any(axis=1, keepdims=True), relative, LEAST_IMPORTANCE).astype(np.float32)
