"""Weights as the hardware stores them: a code for each, in the order in which a stage reads them."""

from __future__ import annotations

import math

import numpy as np

from .stages import Convolution

NO_SHIFT = 7
"""The exponent that stands for no shift: a weight of 0, or of its component's mean."""

SIGN, COMPONENT = 8, 16


def ordered(stage: Convolution, weights: np.ndarray) -> np.ndarray:
    """[C_out, C_in, KH, KW] to [group, cycle, output channel, input]: the inputs of a cycle are tap * simd + channel.

    A depthwise stage has one input for each tap. Groups and cycles are those over all channels.
    """
    fold, (kh, kw) = stage.folding, stage.kernel
    simd = 1 if stage.is_depthwise else fold.simd
    steps, channels = kh * kw // fold.taps, weights.shape[1] // simd
    groups = stage.weight_words[0]
    split = weights.reshape(groups, fold.pe, channels, simd, steps, fold.taps)
    return split.transpose(0, 4, 2, 1, 5, 3).reshape(groups, steps * channels, fold.pe, fold.taps * simd)


def codes(stage: Convolution) -> np.ndarray:
    """int8, shaped as the weights.

    "dsp", "lut": the weight. "shift": the exponent in bits 2..0, NO_SHIFT for 0, and the sign in bit 3. "binary": 1 for
    -1. "focused": as "shift" for the distance from the mean, bit 4 the component; NO_SHIFT is the mean itself, with the
    sign the weight 0.
    """
    kind, weights = stage.products.kind, stage.weights.astype(np.int64)
    if kind in ("dsp", "lut"):
        return stage.weights
    if kind == "binary":
        return (weights < 0).astype(np.int8)
    if kind == "shift":
        return _tabled(weights, {0: NO_SHIFT, **_shifts(0, 1, 0)})
    return _tabled(weights, {**_recentred(stage.products.components), 0: NO_SHIFT | SIGN})


def code_bits(stage: Convolution) -> int:
    """Bits in which every code of a stage fits."""
    return {"shift": 4, "binary": 1, "focused": 5}.get(stage.products.kind, stage.products.weight_bits)


def part_bits(stage: Convolution) -> int:
    """Of the sums of inputs, and of shifted inputs, of one component of a "focused" stage; two's complement."""
    exponents = np.where(codes(stage) % SIGN == NO_SHIFT, 0, codes(stage) % SIGN).astype(np.int64)
    most = (255 << exponents).reshape(len(exponents), -1).sum(1).max()
    return min(int(most).bit_length() + 1, 32)


def exponents(stage: Convolution) -> set[int]:
    """Those in the codes of a "focused" stage."""
    table = _recentred(stage.products.components)
    return {table[level] % SIGN for level in stage.levels if level != 0} - {NO_SHIFT}


def _recentred(components: tuple[tuple[int, int], ...]) -> dict[int, int]:
    """Codes by level; of several codes the one with the least exponent."""
    table: dict[int, int] = {}
    for number, (mean, _) in enumerate(components):
        table.setdefault(mean, NO_SHIFT + COMPONENT * number)
    shifts = [_shifts(mean, step, COMPONENT * number) for number, (mean, step) in enumerate(components)]
    for level, code in sorted((one for each in shifts for one in each.items()), key=lambda one: one[1] % SIGN):
        table.setdefault(level, code)
    return table


def _shifts(mean: int, step: int, more: int) -> dict[int, int]:
    """Codes by level."""
    return {
        mean + step * sign * (1 << exponent): exponent + (SIGN if sign < 0 else 0) + more
        for exponent in range(NO_SHIFT)
        for sign in (1, -1)
    }


def _tabled(weights: np.ndarray, table: dict[int, int]) -> np.ndarray:
    keys = np.array(sorted(table))
    found = np.searchsorted(keys, weights).clip(0, len(keys) - 1)
    assert (keys[found] == weights).all(), "a weight that its number format does not have"
    return np.array([table[int(key)] for key in keys], np.int8)[found]


def array_shape(stage: Convolution) -> tuple[int, ...]:
    """Of the codes in the order of `ordered`."""
    return ordered(stage, stage.weights).shape


def rom_bits(stage: Convolution) -> int:
    """Of all codes of a stage."""
    return math.prod(array_shape(stage)) * code_bits(stage)
