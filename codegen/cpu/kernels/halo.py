"""Zeros around and instead of computed planes."""

from __future__ import annotations

from tvm.script.ir_builder import tirx as T

from ..layout import Layout
from .emit import lanes_from, when
from .stored import stored_zeros


def store_zeros(buffer, layout: Layout, n, block, row: int, column: int, columns: int) -> None:
    """Zero `columns` stored pixels of one stored row; row and column count from the corner of the halo."""
    inside_row, inside_column = row - layout.halo, column - layout.halo
    with T.serial(columns) as step:
        lane = lanes_from(0, layout.block)
        place = layout.index(n, block, inside_row, inside_column + step, lane)
        T.buffer_store(buffer, stored_zeros(layout, layout.block), place)


def clear_block(buffer, layout: Layout, shape, n, block) -> None:
    """Zero a whole channel block, halo included."""
    _, _, rows, columns = layout.physical(shape)[:4]
    with T.serial(rows) as row:
        store_zeros(buffer, layout, n, block, row, 0, columns)


def clear_margins(buffer, layout: Layout, shape, n, block, first, count: int) -> None:
    """Zero the halo of output rows first .. first+count-1: their ends, and the rows above or below them."""
    if not layout.halo:
        return
    _, _, rows, columns = layout.physical(shape)[:4]
    with T.serial(count) as step:
        for side in (0, columns - layout.halo):
            store_zeros(buffer, layout, n, block, first + step + layout.halo, side, layout.halo)

    def clear_rows(start: int) -> None:
        with T.serial(layout.halo) as row:
            store_zeros(buffer, layout, n, block, start + row, 0, columns)

    when(first == 0, lambda: clear_rows(0))
    when(first + count == shape[2], lambda: clear_rows(rows - layout.halo))
