"""What follows the int32 sums of a quantized layer: rescaling, the residual, limits. Exact, see `core.integer`.

Where it can be proven that it rounds to the same number, a sum is rescaled in float32: one fused multiply-add with
1.5 * 2^23 rounds to the nearest integer, ties to even, and leaves that integer in the low bits. Otherwise products are
64 bits wide.
"""

from __future__ import annotations

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.core.integer import LayerArithmetic, ResidualArithmetic
from espalier.core.layers import LayerSpec
from espalier.targets.cpu import Isa

from ...integer_bounds import (
    PART,
    boosts_inside,
    check_sums,
    in_parts,
    largest_result,
    largest_sums,
    rounds_in_float32,
)
from ..packing import packing
from . import narrow
from .emit import spread, vector_type
from .lists import filled_up

NARROW, FUSED, WIDE, REAL = "narrow", "fused", "wide", "real"
"""By one multiply-add in float32, with results of at most 16 bits (`narrow`) or of any size; by products of 64 bits;
not at all, the output is float32."""

_MAGIC, _MAGIC_BITS = 1.5 * 2**23, 0x4B400000
"""Added to a number below 2^22 in magnitude, the sum's last bit counts ones; and the bits of the magic number."""


def rounding_of(spec: LayerSpec, constants: dict[str, np.ndarray], isa: Isa) -> str:
    """How a layer's sums can be rescaled: one of the words above.

    spec: before `as_kernels_take_it`. constants: weight, bias and multiplier, by role.

    Raises InvalidModelError if a sum may exceed 32 bits.
    """
    check_sums(spec, constants)
    if "scale" in spec.roles:
        return REAL
    if not isa.feature or not rounds_in_float32(spec, constants):
        return WIDE
    largest = largest_sums(spec, constants)
    factor = constants["multiplier"].astype(np.int64) * (255 if boosts_inside(spec) else 1)
    rescaled = largest.astype(float) * factor / 2.0**spec.integer.shift
    return NARROW if narrow.suits(spec, isa) and rescaled.max() <= narrow.LIMIT else FUSED


def packed_constants(spec: LayerSpec, constants: dict[str, np.ndarray], lanes: int, rounding: str) -> dict:
    """bias, corrected for the input's zero point, and multiplier or scale, filled up to whole vectors."""
    bias = [constants["bias"]] if "bias" in constants else []
    packed = {"bias": start_of_sums(constants["weight"], spec.integer.x_zero, lanes, *bias)}
    if rounding == REAL:
        packed["scale"] = filled_up(constants["scale"], lanes)
    elif rounding in (NARROW, FUSED):
        packed["multiplier"] = real_multiplier(constants["multiplier"], spec.integer.shift, lanes)
    else:
        packed["multiplier"] = filled_up(constants["multiplier"], lanes)
    return packed


@packing
def start_of_sums(weight: np.ndarray, x_zero: int, lanes: int, *bias: np.ndarray) -> np.ndarray:
    """int32: the bias, none or one, less what the input's zero point adds; filled up to whole vectors."""
    start = -x_zero * weight.astype(np.int64).reshape(len(weight), -1).sum(1) + sum(
        one.astype(np.int64) for one in bias
    )
    start = start.astype(np.uint32).view(np.int32)  # the sums are those of 32 bits, whatever the start
    return np.pad(start, (0, -len(start) % lanes))


@packing
def real_multiplier(multiplier: np.ndarray, shift: int, lanes: int) -> np.ndarray:
    """float32: multiplier / 2^shift, filled up to whole vectors."""
    real = np.ldexp(multiplier.astype(np.float32), -shift)
    return np.pad(real, (0, -len(real) % lanes))


def argument_types(rounding: str) -> dict[str, str]:
    """Element types of what a quantized layer's kernel takes besides its input and weight."""
    multiplier = "float32" if rounding in (NARROW, FUSED) else "int32"
    return {"bias": "int32", "multiplier": multiplier, "scale": "float32", "pi": "uint8", "mask": "uint8"}


class Requantization:
    """The end of a layer, for vectors of `lanes` sums.

    spec: the layer. rounding: as `rounding_of` says for it.
    """

    def __init__(self, spec: LayerSpec, rounding: str, lanes: int):
        self.spec, self.one, self.rounding, self.lanes = spec, spec.integer, rounding, lanes
        self.boosts_inside = boosts_inside(spec)
        self.word = "int64" if rounding == WIDE else "int32"

    def factor(self, multiplier, pi):
        """What sums are multiplied by: vectors of the multiplier and of uint8 pi (None without)."""
        if not self.boosts_inside:
            return self._wide(multiplier) if self.rounding == WIDE else multiplier
        if self.rounding != WIDE:
            return multiplier * T.cast(pi, vector_type("float32", self.lanes))
        return self._wide(multiplier) * self._wide(pi)

    def outputs(self, sums, factor, pi, residual):
        """int32 vector whose low bytes are the output; float32 for a layer that gives real numbers.

        factor: from `factor`, or the scale. pi, residual: uint8 and int32 vectors, None without.
        """
        if self.rounding == REAL:
            return T.cast(sums, vector_type("float32", self.lanes)) * factor
        if self.rounding == WIDE:
            total = self._rounded(self._wide(sums) * factor, self.one.shift)
            return self._joined(total, pi, residual)
        if (residual is None or self.one.residual.is_plain) and (pi is None or self.boosts_inside):
            return self._fused(sums, factor, residual)
        return self._joined(self._cut(self._magic(sums, factor, _MAGIC)), pi, residual)

    def of_pixels(self, sums: list, factor, residuals: list):
        """uint8x64: the outputs of four pixels of a NARROW layer. residuals: uint8x32 of two pixels each, or none."""
        offset = self.one.zero - (self.one.residual.zero if residuals else 0)
        odd = offset % 2
        bits = [self._magic(one, factor, _MAGIC + offset - odd) for one in sums]
        return narrow.bytes_of_pixels(bits, residuals, odd, self.one.low, self.one.high)

    def resting(self, residual):
        """The output of a losing channel under a gate on the branch: of the residual alone (int32 vector)."""
        return self._joined(self._number(0), None, residual)

    def lost(self) -> int:
        """The output of a losing channel that has no residual."""
        one = self.one
        return one.zero if self.spec.gate == "listed" else min(max(one.zero, one.low), one.high)

    def masked(self, outputs, mask):
        """The zero point where the uint8 mask is 0."""
        zero = spread(T.int32(self.one.zero), self.lanes)
        return (outputs - zero) * T.cast(mask, vector_type("int32", self.lanes)) + zero

    def _magic(self, sums, factor, start: float):
        """The bits of start + the rescaled sum: an integer, rounded once."""
        kind = vector_type("float32", self.lanes)
        total = T.call_llvm_pure_intrin(
            kind, "llvm.fma", T.cast(sums, kind), factor, spread(T.float32(start), self.lanes)
        )
        return tirx.reinterpret(vector_type("int32", self.lanes), total)

    def _fused(self, sums, factor, residual):
        """Everything on the bits of the magic sum; an odd offset is added behind the rounding, ties being to even."""
        offset = self.one.zero - (self.one.residual.zero if residual is not None else 0)
        odd = offset % 2
        bits = self._magic(sums, factor, _MAGIC + offset - odd)
        if residual is not None:
            bits = bits + residual
        low, high = (spread(T.int32(_MAGIC_BITS + bound - odd), self.lanes) for bound in (self.one.low, self.one.high))
        bits = tirx.min(tirx.max(bits, low), high)
        return bits + spread(T.int32(odd), self.lanes) if odd else bits

    def _cut(self, bits):
        """The rescaled sums, cut to where the result is clipped anyway."""
        limit = largest_result(self.spec)
        low, high = (spread(T.int32(_MAGIC_BITS + bound), self.lanes) for bound in (-limit, limit))
        return tirx.min(tirx.max(bits, low), high) - spread(T.int32(_MAGIC_BITS), self.lanes)

    def _joined(self, total, pi, residual):
        """The rescaled sum with the residual, boosted, and within its limits."""
        if residual is not None:
            one = self.one.residual
            if one.low is not None:
                total = tirx.min(tirx.max(total, self._number(one.low)), self._number(one.high))
            total = self._added(total, self._of(residual) - self._number(one.zero), one)
        if pi is not None and not self.boosts_inside:
            total = self._rounded(tirx.max(total, self._number(0)) * self._of(pi), self.one.pi_shift)
        return limited(total, self.one, self.word, self.lanes)

    def _added(self, total, other, one: ResidualArithmetic):
        """RNE(total * own + other * other's multiplier, 1, shift)."""

        def sums(own: int, factor: int):
            return total * self._number(own) + other * self._number(factor)

        if self.word == "int64" or not in_parts(one):
            return self._rounded(sums(one.own, one.other), one.shift)
        mask = (1 << PART) - 1
        lower = T.bind(sums(one.own & mask, one.other & mask))
        upper = T.bind(sums(one.own >> PART, one.other >> PART) + (lower >> self._number(PART)))
        shift = one.shift - PART
        odd = (upper >> self._number(shift)) & self._number(1)
        more = tirx.min(lower & self._number(mask), self._number(1))  # past the half there is no tie
        return (upper + self._number((1 << (shift - 1)) - 1) + (odd | more)) >> self._number(shift)

    def _rounded(self, product, shift: int):
        return half_even(product, shift, self.word, self.lanes)

    def _wide(self, value):
        return T.cast(value, vector_type("int64", self.lanes))

    def _of(self, value):
        return T.cast(value, vector_type(self.word, self.lanes))

    def _number(self, value: int):
        return spread(tirx.const(value, self.word), self.lanes)


def half_even(product, shift: int, word: str, lanes: int):
    """Integers divided by 2^shift and rounded to the nearest integer, ties to even."""
    if shift == 0:
        return product

    def number(value: int):
        return spread(tirx.const(value, word), lanes)

    odd = (product >> number(shift)) & number(1)
    return (product + number((1 << (shift - 1)) - 1) + odd) >> number(shift)


def limited(value, one: LayerArithmetic, word: str, lanes: int):
    """clip(value + zero, low, high) as int32."""
    zero, low, high = (spread(tirx.const(number, word), lanes) for number in (one.zero, one.low, one.high))
    return T.cast(tirx.min(tirx.max(value + zero, low), high), vector_type("int32", lanes))
