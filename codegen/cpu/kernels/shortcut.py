"""Every second pixel and channels around it: what a residual network without projections puts on its shortcuts.

Source: He et al., Deep Residual Learning, CVPR 2016, section 4.2 (option A).
"""

from __future__ import annotations

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from ..layout import Layout
from .emit import build_kernel, lanes_from, loop
from .glue import PARALLEL_VALUES
from .halo import clear_margins
from .stored import load, store


def strided_pixels(shape, out_shape, first: tuple[int, int], strides: tuple[int, int], source: Layout, result: Layout):
    """The pixels that lie `strides` apart from `first` on; both layouts have blocks of one size."""
    batch, _, rows, columns = out_shape
    blocks, lane = result.physical(out_shape)[1], lanes_from(0, result.block)

    def body(x, out) -> None:
        with loop(batch * blocks * rows, batch * blocks * rows * columns * result.block > PARALLEL_VALUES) as task:
            n, block, row = T.bind(task // (blocks * rows)), T.bind(task // rows % blocks), T.bind(task % rows)
            with T.serial(columns) as column:
                h, w = first[0] + row * strides[0], first[1] + column * strides[1]
                value = load(x, source, source.index(n, block, h, w, lane))
                store(out, result, result.index(n, block, row, column, lane), value)
            clear_margins(out, result, out_shape, n, block, row, 1)

    arguments = [("x", source.physical(shape), source.element), ("out", result.physical(out_shape), result.element)]
    return build_kernel("", arguments, body)


def padded_channels(shape, out_shape, before: int, value: float, source: Layout, result: Layout):
    """The channels of x from number `before` on, `value` in all others."""
    batch, channels, rows, columns = out_shape
    blocks = result.physical(out_shape)[1]

    def value_at(x, n, channel, row, column):
        inside = tirx.min(tirx.max(channel - before, 0), shape[1] - 1)
        block, lane = (inside, 0) if source.block == 1 else (inside // source.block, inside % source.block)
        found = load(x, source, source.index(n, block, row, column, lane))
        fill = tirx.const(value, found.ty.dtype)
        return T.if_then_else(tirx.all(channel >= before, channel < before + shape[1]), found, fill)

    def body(x, out) -> None:
        with loop(batch * blocks * rows, batch * channels * rows * columns > PARALLEL_VALUES) as task:
            n, block, row = T.bind(task // (blocks * rows)), T.bind(task // rows % blocks), T.bind(task % rows)
            with T.grid(columns, result.block) as (column, lane):
                found = value_at(x, n, block * result.block + lane, row, column)
                store(out, result, result.index(n, block, row, column, lane), found)
            clear_margins(out, result, out_shape, n, block, row, 1)

    arguments = [("x", source.physical(shape), source.element), ("out", result.physical(out_shape), result.element)]
    return build_kernel("", arguments, body)
