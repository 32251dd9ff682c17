"""The end of a quantized layer for four neighbouring pixels at once, on AVX-512.

Where a rescaled sum provably fits 16 bits, the low half of the magic sum's bits is that sum (`requantize`): a word
permutation takes the halves of two pixels, a saturating pack clips them to bytes. That is half the instructions of one
pixel at a time. Source: Intel SDM volume 2, VPERMI2W, VPACKUSWB.
"""

from __future__ import annotations

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.core.layers import LayerSpec
from espalier.targets.cpu import Isa

from .emit import lanes_from
from .int8 import as_kernels_take_it

PIXELS = 4
"""Of sixteen channels: together a vector of bytes."""

LIMIT = (1 << 15) - 1024
"""Rescaled sums up to this magnitude fit 16 bits, with a residual and a zero point added."""

_LANES = 16


def suits(spec: LayerSpec, isa: Isa) -> bool:
    """Whether a layer whose sums are small enough can end so."""
    one = spec.integer
    plain = "residual" not in spec.roles or one.residual.is_plain
    boosts_outside = "pi" in spec.roles and spec.gate == "output" and "residual" in spec.roles
    masks = "mask" in as_kernels_take_it(spec, isa).roles
    return isa.name == "avx512" and bool(isa.int8) and plain and not boosts_outside and not masks


def bytes_of_pixels(bits: list, residuals: list, odd: int, low: int, high: int):
    """uint8x64: the outputs of four pixels from the bits of their magic sums (int32x16).

    residuals: uint8x32 of two pixels each, or none. odd: to be added behind the rounding. low, high: the limits.
    """
    words = []
    for number in (0, 1):
        pair = _low_words(*bits[2 * number : 2 * number + 2])
        if residuals:
            pair = pair + T.cast(residuals[number], "int16x32")
        words.append(pair + T.broadcast(T.int16(odd), 2 * _LANES) if odd else pair)
    packed = T.call_llvm_pure_intrin("int8x64", "llvm.x86.avx512.packuswb.512", *words)
    inner, name = tirx.reinterpret("int64x8", packed), "llvm.x86.avx512.permvar.di.512"
    value = tirx.reinterpret("uint8x64", T.call_llvm_pure_intrin("int64x8", name, inner, _order()))
    if low > 0:
        value = tirx.max(value, T.broadcast(T.uint8(low), 64))
    return tirx.min(value, T.broadcast(T.uint8(high), 64)) if high < 255 else value


def pairs_of(count: int) -> tuple[int, int]:
    """The first pixels of the two pairs that a vector of two to four pixels is made of; they may overlap."""
    return 0, count - 2


def stored_parts(value, count: int) -> list:
    """(first pixel, vector) of what is to be stored of a vector made of the pairs of `count` pixels."""
    if count == PIXELS:
        return [(0, value)]
    slots = [(0, 0, 2), (2, 3, 1)] if count == 3 else [(0, 0, 2)]  # pixel, its place in the vector, pixels
    return [
        (pixel, T.Shuffle([value], list(range(place * _LANES, (place + size) * _LANES))))
        for pixel, place, size in slots
    ]


def _low_words(one, other):
    """int16x32: the lower halves of two int32x16."""
    index = T.ramp(T.int16(0), T.int16(2), 2 * _LANES)
    first, second = (tirx.reinterpret("int16x32", value) for value in (one, other))
    return T.call_llvm_pure_intrin("int16x32", "llvm.x86.avx512.vpermi2var.hi.512", first, index, second)


def _order():
    """int64x8 0 2 4 6 1 3 5 7: packing works within quarters of a vector, which leaves the pixels interleaved."""
    number = T.ramp(T.int64(0), T.int64(1), 8)
    double = T.ramp(T.int64(0), T.int64(2), 8)
    return (double & T.broadcast(T.int64(7), 8)) + (number >> T.broadcast(T.int64(2), 8))


def neighbours(layout, n, block, row, column, count: int) -> list:
    """The index of so many neighbouring pixels of a block."""
    return layout.index(n, block, row, column, lanes_from(0, count * _LANES))
