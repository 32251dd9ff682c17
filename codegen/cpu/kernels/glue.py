"""Kernels between the layers: layout changes, pooling, and pointwise sums on stored tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.core.layers import Activation

from ..layout import Layout
from .bfloat16 import PAIR
from .emit import Accumulators, activated, build_kernel, lanes_from, loop, spread, tiles, when, zeros
from .halo import clear_margins
from .stored import load, store, store_pairs

PARALLEL_VALUES = 100_000
"""Kernels that move fewer values than this run on one thread."""

COLUMNS_TOGETHER = 16
"""Columns that are rounded and stored at once where channels lie in pairs."""


def change_layout(shape: tuple[int, ...], source: Layout, result: Layout):
    """The kernel that stores a tensor of logical shape [N, C, H, W] another way."""
    batch, channels, rows, columns = shape
    blocks = result.physical(shape)[1]
    in_pairs = source.block == 1 and result.block == PAIR and result.dtype == "bfloat16"
    store_row = _store_row_of_pairs if in_pairs else _store_row

    def body(x, out) -> None:
        with loop(batch * blocks * rows, batch * channels * rows * columns > PARALLEL_VALUES) as task:
            n, block, row = T.bind(task // (blocks * rows)), T.bind(task // rows % blocks), T.bind(task % rows)
            store_row(x, out, source, result, shape, n, block, row)
            clear_margins(out, result, shape, n, block, row, 1)

    return build_kernel("", [_argument("x", source, shape), _argument("out", result, shape)], body)


def _store_row(x, out, source: Layout, result: Layout, shape, n, block, row) -> None:
    """One row of a channel block, value by value; lanes past the last channel get zeros."""
    _, channels, _, columns = shape

    def value_at(channel, column):
        if source.block == 1:
            return load(x, source, source.index(n, channel, row, column))
        return load(x, source, source.index(n, channel // source.block, row, column, channel % source.block))

    with T.serial(columns) as column:
        with T.serial(result.block) as lane:
            channel = block * result.block + lane
            value = value_at(channel, column)
            if channels % result.block:
                value = T.if_then_else(channel < channels, value, tirx.const(0, value.ty.dtype))
            store(out, result, result.index(n, block, row, column, lane), value)


def _store_row_of_pairs(x, out, source: Layout, result: Layout, shape, n, block, row) -> None:
    """A row of two planes, a vector of columns at a time; past the last channel there are zeros."""
    _, channels, _, columns = shape

    def vector(channel, first_column, size: int):
        place = lanes_from(first_column + source.halo, size)
        return load(x, source, [n, channel, row + source.halo, place])

    def whole_row(has_second: bool) -> None:
        for start, count, size in tiles(columns, COLUMNS_TOGETHER):
            with T.serial(count) as step:
                column = start + step * size
                second = vector(block * PAIR + 1, column, size) if has_second else zeros(size)
                place = result.index(n, block, row, column)[:-1]
                store_pairs(out, place, vector(block * PAIR, column, size), second)

    if channels % PAIR:
        when(block * PAIR + 1 < channels, lambda: whole_row(True), lambda: whole_row(False))
    else:
        whole_row(True)


@dataclass(frozen=True)
class Pool:
    """Parameters of a pooling operator; count_padding: whether an average counts the padding as zeros."""

    kind: str
    size: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    count_padding: bool


def pool2d(pool: Pool, x_shape, out_shape, x_layout: Layout, out_layout: Layout):
    """Max or average pooling in the layout of its input, bytes by their maximum only; places outside are left out."""
    batch, _, rows, columns = out_shape
    blocks, lanes = out_layout.physical(out_shape)[1], out_layout.block
    lane = lanes_from(0, lanes)
    element = "int32" if x_layout.dtype == "uint8" else "float32"
    start = T.float32(float("-inf")) if pool.kind == "max" and element == "float32" else tirx.const(0, element)

    def one_place(x, total, count, n, block, row, column) -> None:
        with T.grid(*pool.size) as (r, s):
            h = row * pool.strides[0] + r * pool.dilation[0] - pool.padding[0]
            w = column * pool.strides[1] + s * pool.dilation[1] - pool.padding[1]
            inside = tirx.all(h >= 0, h < x_shape[2], w >= 0, w < x_shape[3])
            counted = inside
            if pool.count_padding:  # but not what rounding the size up adds beyond the padding
                counted = tirx.all(h < x_shape[2] + pool.padding[2], w < x_shape[3] + pool.padding[3])
            with T.If(inside):
                with T.Then():
                    value = load(x, x_layout, x_layout.index(n, block, h, w, lane))
                    total[0] = tirx.max(total[0], value) if pool.kind == "max" else total[0] + value
            with T.If(counted):
                with T.Then():
                    count[0] = count[0] + T.float32(1)

    def body(x, out) -> None:
        with loop(batch * blocks * rows, batch * blocks * rows * columns * lanes > PARALLEL_VALUES) as task:
            n, block, row = T.bind(task // (blocks * rows)), T.bind(task // rows % blocks), T.bind(task % rows)
            with T.serial(columns) as column:
                total = Accumulators(1, lanes, element)
                count = Accumulators(1, 1)
                total[0] = spread(start, lanes)
                count[0] = T.float32(0)
                one_place(x, total, count, n, block, row, column)
                value = total[0]
                if pool.kind == "avg":
                    value = value / spread(count[0], lanes)
                store(out, out_layout, out_layout.index(n, block, row, column, lane), value)
            clear_margins(out, out_layout, out_shape, n, block, row, 1)

    return build_kernel("", [_argument("x", x_layout, x_shape), _argument("out", out_layout, out_shape)], body)


def spatial_mean(x_shape, x_layout: Layout):
    """The mean over rows and columns: a stored tensor to [N, C]."""
    batch, channels, rows, columns = x_shape
    blocks, lanes = x_layout.physical(x_shape)[1], x_layout.block
    scale = T.float32(1 / (rows * columns))

    def body(x, out) -> None:
        with loop(batch * blocks, batch * channels * rows * columns > PARALLEL_VALUES) as task:
            n, block = T.bind(task // blocks), T.bind(task % blocks)
            total = Accumulators(1, lanes)
            total[0] = zeros(lanes)
            with T.grid(rows, columns) as (row, column):
                place = x_layout.index(n, block, row, column, lanes_from(0, lanes))
                total[0] = total[0] + load(x, x_layout, place)
            spilled = T.alloc_buffer((lanes,), "float32", scope="global")
            T.buffer_store(spilled, total[0] * spread(scale, lanes), [lanes_from(0, lanes)])
            with T.serial(lanes) as lane:
                with T.If(block * lanes + lane < channels):
                    with T.Then():
                        T.buffer_store(out, spilled[lane], [n, block * lanes + lane])

    return build_kernel("", [_argument("x", x_layout, x_shape), ("out", (batch, channels), "float32")], body)


def pointwise(shape, layouts: list[Layout], out_layout: Layout, function: Callable):
    """out = function(*inputs, lanes) on tensors of one logical shape and one block size; halos may differ."""
    batch, _, rows, columns = shape
    blocks, lanes = out_layout.physical(shape)[1], out_layout.block
    lane = lanes_from(0, lanes)

    def body(*buffers) -> None:
        *inputs, out = buffers
        with loop(batch * blocks * rows, batch * blocks * rows * columns * lanes > PARALLEL_VALUES) as task:
            n, block, row = T.bind(task // (blocks * rows)), T.bind(task // rows % blocks), T.bind(task % rows)
            with T.serial(columns) as column:
                places = [layout.index(n, block, row, column, lane) for layout in layouts]
                values = [load(x, layout, place) for x, layout, place in zip(inputs, layouts, places)]
                store(out, out_layout, out_layout.index(n, block, row, column, lane), function(*values, lanes))
            clear_margins(out, out_layout, shape, n, block, row, 1)

    arguments = [_argument(f"x{i}", layout, shape) for i, layout in enumerate(layouts)]
    return build_kernel("", [*arguments, _argument("out", out_layout, shape)], body)


def concat_channels(shapes: list[tuple], layouts: list[Layout], out_shape, out_layout: Layout):
    """Concatenation along channels; every part but the last has whole blocks."""
    lane = lanes_from(0, out_layout.block)
    batch, _, rows, columns = out_shape

    def body(*buffers) -> None:
        *inputs, out = buffers
        first = 0
        for x, shape, layout in zip(inputs, shapes, layouts):
            blocks = layout.physical(shape)[1]
            with loop(batch * blocks * rows, batch * shape[1] * rows * columns > PARALLEL_VALUES) as task:
                n, block, row = T.bind(task // (blocks * rows)), T.bind(task // rows % blocks), T.bind(task % rows)
                with T.serial(columns) as column:
                    value = load(x, layout, layout.index(n, block, row, column, lane))
                    store(out, out_layout, out_layout.index(n, first + block, row, column, lane), value)
                clear_margins(out, out_layout, out_shape, n, first + block, row, 1)
            first += blocks

    arguments = [_argument(f"x{i}", layout, shape) for i, (shape, layout) in enumerate(zip(shapes, layouts))]
    return build_kernel("", [*arguments, _argument("out", out_layout, out_shape)], body)


def _argument(name: str, layout: Layout, shape) -> tuple[str, tuple, str]:
    return name, layout.physical(shape), layout.element


RELU = Activation("relu")


def relu(x, lanes: int):
    """max(x, 0)."""
    return activated(RELU, x, lanes)


def add(x, y, _lanes: int):
    """x + y."""
    return x + y
