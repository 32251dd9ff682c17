"""What stands for zero around computed planes and instead of them."""

from __future__ import annotations

import dataclasses

from tvm.script.ir_builder import tirx as T

from ..layout import Layout
from .emit import lanes_from, when
from .stored import stored_fill


def store_fill(buffer, layout: Layout, n, block, row: int, column: int, columns: int) -> None:
    """Fill `columns` stored pixels of one stored row; row and column count from the corner of the halo."""
    inside_row, inside_column = row - layout.halo, column - layout.halo
    with T.serial(columns) as step:
        lane = lanes_from(0, layout.block)
        place = layout.index(n, block, inside_row, inside_column + step, lane)
        T.buffer_store(buffer, stored_fill(layout, layout.block), place)


def clear_block(buffer, layout: Layout, shape, n, block, value: int = 0) -> None:
    """Write `value` to a whole channel block, and around it what the layout is filled with."""
    inside = dataclasses.replace(layout, fill=value)
    with T.serial(shape[2]) as row:
        store_fill(buffer, inside, n, block, row + layout.halo, layout.halo, shape[3])
    clear_margins(buffer, layout, shape, n, block, 0, shape[2])


def clear_margins(buffer, layout: Layout, shape, n, block, first, count: int) -> None:
    """Fill the halo of output rows first .. first+count-1: their ends, and the rows above or below them."""
    if not layout.halo:
        return
    _, _, rows, columns = layout.physical(shape)[:4]
    with T.serial(count) as step:
        for side in (0, columns - layout.halo):
            store_fill(buffer, layout, n, block, first + step + layout.halo, side, layout.halo)

    def clear_rows(start: int) -> None:
        with T.serial(layout.halo) as row:
            store_fill(buffer, layout, n, block, start + row, 0, columns)

    when(first == 0, lambda: clear_rows(0))
    when(first + count == shape[2], lambda: clear_rows(rows - layout.halo))
