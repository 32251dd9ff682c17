"""What stands for zero around computed planes and instead of them."""

from __future__ import annotations

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from ..layout import Layout
from .emit import lanes_from, spread, when


def store_value(buffer, layout: Layout, n, block, row, column: int, columns: int, value: int) -> None:
    """Write `value` to `columns` stored pixels of one stored row; both count from the corner of the halo."""
    inside_row, inside_column = row - layout.halo, column - layout.halo
    with T.serial(columns) as step:
        lane = lanes_from(0, layout.block)
        place = layout.index(n, block, inside_row, inside_column + step, lane)
        T.buffer_store(buffer, spread(tirx.const(value, layout.element), layout.block), place)


def clear_block(buffer, layout: Layout, shape, n, block, value: int = 0) -> None:
    """Write `value` to a whole channel block, and around it what the layout is filled with."""
    with T.serial(shape[2]) as row:
        store_value(buffer, layout, n, block, row + layout.halo, layout.halo, shape[3], value)
    clear_margins(buffer, layout, shape, n, block, 0, shape[2])


def clear_margins(buffer, layout: Layout, shape, n, block, first, count: int) -> None:
    """Fill the halo of output rows first .. first+count-1: their ends, and the rows above or below them."""
    if not layout.halo:
        return
    _, _, rows, columns = layout.physical(shape)[:4]
    with T.serial(count) as step:
        for side in (0, columns - layout.halo):
            store_value(buffer, layout, n, block, first + step + layout.halo, side, layout.halo, layout.fill)

    def clear_rows(start: int) -> None:
        with T.serial(layout.halo) as row:
            store_value(buffer, layout, n, block, start + row, 0, columns, layout.fill)

    when(first == 0, lambda: clear_rows(0))
    when(first + count == shape[2], lambda: clear_rows(rows - layout.halo))
