"""Weights of at most 64 distinct values as codes of 1 to 6 bits, expanded in registers.

A permutation of bytes looks up 64 codes at once in a table of 64 bytes and heeds the lowest six bits of each only
(Intel SDM volume 2, VPERMB). A table of fewer values is repeated, so that bits above a code do no harm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.targets.cpu import Isa

from ..packing import packing
from .int8 import QUAD

TABLE = 64
_LOOK_UP = "llvm.x86.avx512.permvar.qi.512"
_PLANES = {1: (1,), 2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2)}
"""Widths that divide a byte, the lowest bits first, by the bits of a code."""


@dataclass(frozen=True)
class Codes:
    """How the weight of a layer is packed. bits: of a code.

    A plane of codes p bits wide holds the codes of 8 / p vectors in one, those of vector k from bit k * p on. `group`
    vectors share whole planes.
    """

    bits: int

    @property
    def group(self) -> int:
        """Vectors of 64 weights that are packed together."""
        return 8 // min(_PLANES[self.bits])

    @property
    def entries(self) -> int:
        """Of the table in memory."""
        return TABLE

    @property
    def vectors(self) -> int:
        """Of codes in a group."""
        return self.group * self.bits // 8

    def shape(self, blocks: int, steps: int, wide: int) -> tuple[int, ...]:
        """Of the packed weight of so many blocks of so many steps, each a vector of `wide` bytes."""
        return (blocks, steps // self.group, self.vectors, wide)

    def pack(self, weight: np.ndarray) -> np.ndarray:
        """int8 [blocks, steps, 64] to uint8 [blocks, steps / group, vectors, 64]."""
        codes = np.searchsorted(np.unique(weight), weight).astype(np.uint8)
        blocks, steps, wide = codes.shape
        codes = codes.reshape(blocks, steps // self.group, self.group, wide)
        packed, first_bit = [], 0
        for width in _PLANES[self.bits]:
            plane = codes >> first_bit & ((1 << width) - 1)
            for first in range(0, self.group, 8 // width):
                shares = [plane[:, :, first + k] << (k * width) for k in range(8 // width)]
                packed.append(np.bitwise_or.reduce(shares))
            first_bit += width
        return np.ascontiguousarray(np.stack(packed, 2))

    def table(self, weight: np.ndarray) -> np.ndarray:
        """int8 [64]: what the codes of a weight stand for, repeated."""
        return table_of_levels(weight, self.bits)

    def bind_table(self, table):
        """The table in a register."""
        return T.bind(table[T.ramp(0, 1, TABLE)])

    def load(self, weight, block, group) -> list:
        """The vectors of codes of a group."""
        return [T.bind(weight[block, group, number, T.ramp(0, 1, TABLE)]) for number in range(self.vectors)]

    def expand(self, planes: list, number: int, table):
        """int32x16: the quads of weights of vector `number` of a group."""
        index, first_bit, first_vector = None, 0, 0
        for width in _PLANES[self.bits]:
            per_vector = 8 // width
            vector = planes[first_vector + number // per_vector]
            bits = _shifted(vector, number % per_vector * width - first_bit)
            index = bits if index is None else _joined(index, bits, first_bit)
            first_bit += width
            first_vector += self.group // per_vector
        index = tirx.reinterpret(f"int8x{TABLE}", index)
        values = T.call_llvm_pure_intrin(f"int8x{TABLE}", _LOOK_UP, table, index)
        return tirx.reinterpret("int32x16", values)


@packing
def table_of_levels(weight: np.ndarray, bits: int) -> np.ndarray:
    """int8 [64]: the values of a weight in ascending order, 2^bits of them again and again."""
    levels = np.unique(weight)
    filled = np.pad(levels, (0, (1 << bits) - len(levels)))
    return np.tile(filled, TABLE >> bits).astype(np.int8)


def codes_of(weight: np.ndarray, isa: Isa, together: int | None = None) -> Codes | None:
    """How a weight can be packed; None if it has too many values or the target cannot look codes up.

    together: input channels that are skipped together, if any are.
    """
    if not (isa.permute and isa.has_vnni):
        return None
    bits = max(1, (len(np.unique(weight)) - 1).bit_length())
    if bits not in _PLANES or (together or 0) % (QUAD * Codes(bits).group):
        return None
    return Codes(bits)


def _shifted(codes, right: int):
    """uint8 vectors as 32-bit words, shifted; what crosses over from the next byte lies above the code."""
    words = tirx.reinterpret("uint32x16", codes)
    if right == 0:
        return words
    amount = T.broadcast(T.uint32(abs(right)), 16)
    return words >> amount if right > 0 else words << amount


def _joined(low, high, first_bit: int):
    """The bits of `low` below `first_bit` and those of `high` from there on, byte by byte."""
    mask = T.broadcast(T.uint32(((1 << first_bit) - 1) * 0x01010101), 16)
    return (low & mask) | (high & ~mask)
