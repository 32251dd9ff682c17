"""Products of tiles: up to 16 rows of 64 bytes in a register of their own, sixteen sums times sixteen at once.

A kernel configures the registers, multiplies, and releases them in one thread: the configuration is a thread's own.
Source: Intel SDM volume 1, chapter 18; volume 2, LDTILECFG, TILELOADD, TDPBUSD.
"""

from __future__ import annotations

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.targets.cpu import Isa

from .emit import lanes_from
from .int8 import QUAD

ROWS, ROW_BYTES, LANES = 16, 64, 16
"""Of a tile at most, and the 32-bit sums in a row."""

SIDE = 2
"""Tiles of pixels and tiles of channels whose products are summed at the same time: with two of each, every tile that
is loaded is used twice."""

SUMS, LEFT, RIGHT = 0, SIDE * SIDE, SIDE * SIDE + SIDE
"""The first registers of the sums, of the pixels and of the weights."""

PRODUCT_CYCLES, LOAD_CYCLES = 1.0, 8.0
"""For each row of pixels in a product of tiles; for a tile from the nearest cache (two rows a cycle)."""

_PALETTE, _ROW_BYTES_AT, _ROWS_AT, _CONFIGURATION = 1, 16, 48, 64


def has_tiles(isa: Isa) -> bool:
    """Whether the target multiplies tiles of bytes."""
    return isa.tiles == "amx-int8"


def configure(rows: int, depth: int) -> None:
    """Tiles of `rows` pixels of `depth` bytes each, of weights for 16 channels, and of their sums."""
    content = bytearray(_CONFIGURATION)
    content[0] = _PALETTE
    for register in range(RIGHT + SIDE):
        is_left, is_right = LEFT <= register < RIGHT, register >= RIGHT
        content[_ROWS_AT + register] = depth // QUAD if is_right else rows
        content[_ROW_BYTES_AT + 2 * register] = depth if is_left else ROW_BYTES
    words = [int.from_bytes(content[first : first + 4], "little") for first in range(0, _CONFIGURATION, 4)]
    configuration = T.alloc_buffer((len(words),), "int32", scope="global")
    for number, word in enumerate(words):
        T.buffer_store(configuration, T.int32(word), [number])
    _emit("ldtilecfg", T.address_of(configuration[0]))


def release() -> None:
    """The registers are no part of the thread's state any more."""
    _emit("tilerelease")


def load(register: int, buffer, index: list, stride: int) -> None:
    """Rows that lie `stride` bytes apart, the first one at an index of a buffer."""
    _emit("tileloadd64", T.int8(register), T.address_of(buffer[tuple(index)]), T.int64(stride))


def store(register: int, buffer, index: list) -> None:
    """The rows of a tile one after the other."""
    _emit("tilestored64", T.int8(register), T.address_of(buffer[tuple(index)]), T.int64(ROW_BYTES))


def add_products(sums: int, left: int, right: int) -> None:
    """To int32 sums: the four products of unsigned bytes with signed ones of each row and each lane, over all quads."""
    _emit("tdpbusd", T.int8(sums), T.int8(left), T.int8(right))


def buffer_for_tiles(size: int, element: str):
    """A flat buffer of `size` elements, a multiple of 16, that tiles are loaded from or stored to.

    TVM shrinks a buffer to what it sees of the accesses, and does not see what a tile covers: so the last elements are
    written here.
    """
    buffer = T.alloc_buffer((size,), element, scope="global")
    T.buffer_store(buffer, T.broadcast(tirx.const(0, element), LANES), [lanes_from(size - LANES, LANES)])
    return buffer


def _emit(instruction: str, *arguments) -> None:
    T.evaluate(T.call_llvm_intrin("void", f"llvm.x86.{instruction}", *arguments))
