"""Vectors from and to stored tensors: float32 whatever their element type, but int32 for quantized ones."""

from __future__ import annotations

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.targets.cpu import Isa

from ..layout import Layout
from .emit import lanes_from, spread, vector_type

_HALF, _FINITE, _INFINITE, _QUIET, _MAGNITUDE = 0x7FFF, 0x7FFF, 0x7F800000, 0x40, 0x7FFFFFFF


def load(buffer, layout: Layout, index: list):
    """The float32, or of a quantized tensor int32, values at an index whose last place may be a range of lanes."""
    value = buffer[tuple(index)]
    if layout.dtype == "uint8":
        return T.cast(value, vector_type("int32", _lanes_of(value)))
    return widened(value) if layout.dtype == "bfloat16" else value


def store(buffer, layout: Layout, index: list, value, isa: Isa | None = None) -> None:
    """Write float32 values, rounded where the layout asks for it; with the instruction for it if `isa` has one.

    To a quantized tensor, the low bytes of int32 values.
    """
    if layout.dtype == "uint8":
        value = T.cast(value, vector_type("uint8", _lanes_of(value)))
    if layout.dtype == "bfloat16":
        value = rounded(value, isa)
    T.buffer_store(buffer, value, index)


def store_pairs(buffer, index: list, first, second) -> None:
    """Write two float32 vectors as bfloat16, a value of the first and one of the second by turns."""
    lanes = _lanes_of(first)
    low, high = (_nearest(tirx.reinterpret(vector_type("uint32", lanes), one), lanes) for one in (first, second))
    words = low | high << _word(16, lanes)
    T.buffer_store(
        buffer, tirx.reinterpret(vector_type("uint16", 2 * lanes), words), [*index, lanes_from(0, 2 * lanes)]
    )


def widened(bits):
    """uint16 bits of bfloat16 to float32."""
    lanes = _lanes_of(bits)
    return tirx.reinterpret(
        vector_type("float32", lanes), T.cast(bits, vector_type("uint32", lanes)) << _word(16, lanes)
    )


def rounded(value, isa: Isa | None = None):
    """Float32 to uint16 bits of the nearest bfloat16, ties to even; a NaN stays one.

    The instruction takes values below the smallest normal one (2^-126) for zero, the arithmetic keeps them.
    """
    lanes = _lanes_of(value)
    if isa and isa.bfloat16 and lanes == isa.lanes:
        # It returns LLVM's bfloat, which TVM would turn into float32; under this name it is stored as it is.
        return T.call_llvm_intrin(vector_type("uint16", lanes), "llvm.x86.avx512bf16.cvtneps2bf16.512", value)
    return T.cast(_nearest(tirx.reinterpret(vector_type("uint32", lanes), value), lanes), vector_type("uint16", lanes))


def _nearest(bits, lanes: int):
    """uint32 bits of float32 to those of bfloat16 in the lower half.

    No comparisons: TVM's LLVM back end emits invalid code for vectors of truth values.
    """

    def word(number: int):
        return _word(number, lanes)

    magnitude = bits & word(_MAGNITUDE)
    nearest = (magnitude + word(_HALF) + (magnitude >> word(16) & word(1))) >> word(16)
    is_nan = (magnitude + word(_MAGNITUDE - _INFINITE)) >> word(31)  # the sum reaches the sign for a NaN alone
    return tirx.min(nearest, word(_FINITE)) | is_nan * word(_QUIET) | (bits >> word(31) << word(15))


def _lanes_of(value) -> int:
    """How many values a vector has."""
    return int(value.ty.dtype.lanes)


def _word(number: int, lanes: int):
    return spread(tirx.const(number, "uint32"), lanes)
