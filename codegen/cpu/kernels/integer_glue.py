"""Kernels of the operators between quantized layers: quantize, dequantize, mean over the image, add."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.core.integer import AddSpec, DequantizeSpec, MeanPoolSpec, QuantizeSpec

from ..layout import Layout
from .emit import Accumulators, build_kernel, lanes_from, loop, spread, tiles, vector_type
from .glue import COLUMNS_TOGETHER, PARALLEL_VALUES
from .halo import clear_margins
from .int8 import QUAD
from .requantize import half_even, limited
from .stored import load

_MAGIC, _MAGIC_BITS = 1.5 * 2**23, 0x4B400000
_ZERO_BEFORE_SHIFT = 30
"""The sum of two tensors is below 2^29, so that a longer shift than this leaves 0 as well."""


def quantized(spec: QuantizeSpec, value, lanes: int):
    """float32 vector to int32 in spec.low .. spec.high: divided, clipped, rounded to even by adding a magic number."""
    low, high = (spread(T.float32(bound - spec.zero), lanes) for bound in (spec.low, spec.high))
    real = value / spread(T.float32(spec.scale), lanes)
    magic = tirx.min(tirx.max(real, low), high) + spread(T.float32(_MAGIC), lanes)
    bits = tirx.reinterpret(vector_type("int32", lanes), magic)
    return bits - spread(T.int32(_MAGIC_BITS - spec.zero), lanes)


def dequantized(spec: DequantizeSpec, value, lanes: int):
    """int32 vector to float32."""
    wide = T.cast(value - spread(T.int32(spec.zero), lanes), vector_type("float32", lanes))
    return wide * spread(T.float32(spec.scale), lanes)


def added(spec: AddSpec, x, y, lanes: int):
    """Two int32 vectors to one."""

    def scaled(value, zero: int, factor: int):
        return (value - spread(T.int32(zero), lanes)) * spread(T.int32(factor), lanes)

    total = scaled(x, spec.x_zero, spec.own) + scaled(y, spec.y_zero, spec.other)
    return limited(half_even(total, min(spec.shift, _ZERO_BEFORE_SHIFT), "int32", lanes), spec, "int32", lanes)


def elementwise(shape: tuple[int, ...], dtypes: list[str], out_dtype: str, function: Callable):
    """out = function(*inputs, lanes) on ordinary tensors of one shape and any rank; bytes come and go as int32."""
    *outer, last = shape or (1,)

    def body(*buffers) -> None:
        *inputs, out = buffers
        rows = math.prod(outer)
        with loop(rows, math.prod(shape) > PARALLEL_VALUES) as row:
            place = _digits(row, outer)
            for start, count, size in tiles(last, COLUMNS_TOGETHER):
                with T.serial(count) as step:
                    index = (*place, lanes_from(start + step * size, size))
                    values = [_widened(x[index], dtype, size) for x, dtype in zip(inputs, dtypes)]
                    value = function(*values, size)
                    if out_dtype == "uint8":
                        value = T.cast(value, vector_type("uint8", size))
                    T.buffer_store(out, value, list(index))

    arguments = [(f"x{i}", (*outer, last), dtype) for i, dtype in enumerate(dtypes)]
    return build_kernel("", [*arguments, ("out", (*outer, last), out_dtype)], body)


def quantize_planes(spec: QuantizeSpec, shape: tuple[int, ...], source: Layout, result: Layout):
    """A float32 tensor in planes to bytes in blocks of a multiple of four channels; past the last one there is 0."""
    batch, channels, rows, columns = shape
    blocks = result.physical(shape)[1]

    def quad(x, n, first_channel: int, row, column, size: int):
        word = spread(T.int32(0), size)
        for i in range(QUAD):
            channel = first_channel + i
            if channel < channels:
                value = load(x, source, [n, channel, row + source.halo, lanes_from(column + source.halo, size)])
                word = word | (quantized(spec, value, size) << spread(T.int32(8 * i), size))
        return word

    def body(x, out) -> None:
        with loop(batch * rows, batch * channels * rows * columns > PARALLEL_VALUES) as task:
            n, row = T.bind(task // rows), T.bind(task % rows)
            for block in range(blocks):
                for first in range(0, result.block, QUAD):
                    for start, count, size in tiles(columns, COLUMNS_TOGETHER):
                        with T.serial(count) as step:
                            column = T.bind(start + step * size)
                            word = quad(x, n, block * result.block + first, row, column, size)
                            _store_words(out, result, word, n, block, row, column, first, size)
                clear_margins(out, result, shape, n, block, row, 1)

    arguments = [("x", source.physical(shape), "float32"), ("out", result.physical(shape), "uint8")]
    return build_kernel("", arguments, body)


def _store_words(out, result: Layout, word, n, block, row, column, first: int, size: int) -> None:
    """Four channels of `size` neighbouring pixels: side by side, or a quad at a time where blocks are wider."""
    if result.block == QUAD:
        place = [*result.index(n, block, row, column)[:-1], lanes_from(0, QUAD * size)]
        T.buffer_store(out, tirx.reinterpret(f"uint8x{QUAD * size}", word), place)
        return
    words = T.alloc_buffer((size,), "int32", scope="global")
    T.buffer_store(words, word, [lanes_from(0, size)])
    with T.serial(size) as i:
        quad = tirx.reinterpret(f"uint8x{QUAD}", words[i])
        T.buffer_store(out, quad, result.index(n, block, row, column + i, lanes_from(first, QUAD)))


def mean_pool(spec: MeanPoolSpec, shape: tuple[int, ...], layout: Layout):
    """The mean over rows and columns: a stored tensor to uint8 [N, C, 1, 1]."""
    batch, channels, rows, columns = shape
    blocks, lanes = layout.physical(shape)[1], layout.block

    def body(x, out) -> None:
        with loop(batch * blocks, batch * channels * rows * columns > PARALLEL_VALUES) as task:
            n, block = T.bind(task // blocks), T.bind(task % blocks)
            total = sum_of_plane(x, layout, n, block, rows, columns)
            total = total - spread(T.int32(rows * columns * spec.x_zero), lanes)
            product = T.cast(total, vector_type("int64", lanes)) * spread(tirx.const(spec.multiplier, "int64"), lanes)
            mean = limited(half_even(product, spec.shift, "int64", lanes), spec, "int64", lanes)
            _store_channels(out, T.cast(mean, vector_type("uint8", lanes)), n, block, lanes, channels)

    arguments = [("x", layout.physical(shape), "uint8"), ("out", (batch, channels, 1, 1), "uint8")]
    return build_kernel("", arguments, body)


def sum_of_plane(x, layout: Layout, n, block, rows: int, columns: int, each: Callable = lambda value: value):
    """int32 sums of a block of channels over the image, of what `each` makes of the values."""
    total = Accumulators(4, layout.block, "int32")
    lane = lanes_from(0, layout.block)

    def add(number: int, row, column) -> None:
        value = load(x, layout, layout.index(n, block, row, column, lane))
        total[number] = total[number] + each(value)

    for i in range(4):
        total[i] = spread(T.int32(0), layout.block)
    with T.serial(rows) as row:
        with T.serial(columns // 4) as step:
            for i in range(4):
                add(i, row, step * 4 + i)
        for i in range(columns % 4):
            add(i, row, columns // 4 * 4 + i)
    return total[0] + total[1] + (total[2] + total[3])


def _store_channels(out, values, n, block, lanes: int, channels: int) -> None:
    spilled = T.alloc_buffer((lanes,), "uint8", scope="global")
    T.buffer_store(spilled, values, [lanes_from(0, lanes)])
    with T.serial(lanes) as lane:
        with T.If(block * lanes + lane < channels):
            with T.Then():
                T.buffer_store(out, spilled[lane], [n, block * lanes + lane, 0, 0])


def _digits(number, extents: list[int]) -> list:
    """The index behind a number that counts through these extents."""
    place = []
    for extent in reversed(extents):
        place.append(number % extent)
        number = number // extent
    return place[::-1]


def _widened(value, dtype: str, lanes: int):
    return T.cast(value, vector_type("int32", lanes)) if dtype == "uint8" else value


def mask_of(granularity: int, count: int, channels: int, batch: int):
    """winners int32 [N, count] to uint8 [N, channels]: 1 for the channels of the listed groups."""

    def body(winners, mask) -> None:
        with T.grid(batch, channels) as (n, channel):
            T.buffer_store(mask, T.uint8(0), [n, channel])
        with T.grid(batch, count, granularity) as (n, position, lane):
            T.buffer_store(mask, T.uint8(1), [n, winners[n, position] * granularity + lane])

    return build_kernel("", [("winners", (batch, count), "int32"), ("mask", (batch, channels), "uint8")], body)
