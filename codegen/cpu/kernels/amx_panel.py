"""The operands of a convolution, copied so that tiles can be loaded: up to 64 channels of a pixel side by side.

Of listed channels only those are copied that are read; then the weights are copied too, in the order of the list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from ..layout import Layout
from . import amx
from .amx import LANES, ROW_BYTES
from .emit import lanes_from, loop, when
from .int8 import QUAD
from .problem import ConvProblem


def depth_of(problem: ConvProblem) -> int:
    """Bytes of a pixel in one tile: a multiple of 16, such that few of the last tile are past the last channel."""
    blocks = -(-problem.computed_in // LANES)
    steps = -(-blocks * LANES // ROW_BYTES)
    return LANES * -(-blocks // steps)


@dataclass(frozen=True)
class Pieces:
    """Channels that lie side by side in blocks of 16, and in the same order in steps of `depth` read channels."""

    problem: ConvProblem
    depth: int

    @property
    def size(self) -> int:
        """Channels in a piece."""
        active = self.problem.spec.active
        return min(LANES, active.granularity) if active else LANES

    @property
    def in_step(self) -> int:
        """Pieces in a step."""
        return self.depth // self.size

    @property
    def count(self) -> int:
        """Pieces that are read."""
        return -(-self.problem.computed_in // self.size)

    def place(self, n, step, number: int, listed) -> tuple:
        """(block, first lane in it) of a piece of a step; past the last piece that of the last one."""
        position, active = tirx.min(step * self.in_step + number, self.count - 1), self.problem.spec.active
        if active is None:
            return T.bind(position), 0
        in_group = active.granularity // self.size
        first = listed[n, position // in_group] * active.granularity + position % in_group * self.size
        first = T.bind(first)
        return (T.bind(first // LANES), T.bind(first % LANES)) if self.size < LANES else (T.bind(first // LANES), 0)


@dataclass(frozen=True)
class Panel:
    """uint8 [N, steps, strides.., rows, width, depth], flat.

    steps: tiles along the input channels that are read, of `depth` bytes each. rows, width: pixels that output pixels
    at one kernel position read, those `strides` apart being neighbours; every offset below the strides has a plane.
    """

    problem: ConvProblem
    depth: int
    steps: int
    rows: int
    width: int

    @staticmethod
    def of(problem: ConvProblem) -> Panel:
        """What a convolution needs."""
        depth = depth_of(problem)
        extents = (problem.out_shape[2 + axis] + _reach(problem, axis) for axis in range(2))
        return Panel(problem, depth, -(-problem.computed_in // depth), *extents)

    @property
    def plane(self) -> int:
        """Pixels of a step and an offset."""
        return self.rows * self.width

    @property
    def planes(self) -> int:
        """Of each step."""
        return math.prod(self.problem.spec.strides)

    @property
    def copied(self) -> int:
        """Bytes, of a sample."""
        return self.steps * self.depth * sum(math.prod(self._read(offsets)) for offsets in self._offsets())

    def pixels(self, height: int) -> int:
        """From the first output of `height` rows to the last one."""
        return (height - 1) * self.width + self.problem.out_shape[3]

    def place(self, n, step, r, s, row, pixel) -> list:
        """Where the tile begins that outputs from `pixel` on, counted from an output row, read at a kernel position."""
        (height, width), (down, right) = self.problem.spec.strides, self.problem.spec.dilation
        plane = (n * self.steps + step) * self.planes + r * down % height * width + s * right % width
        first = plane * self.plane + (row + r * down // height) * self.width + s * right // width
        return [(first + pixel) * self.depth]

    def copied_from(self, x, layout: Layout, active, parallel: bool):
        """The panel's buffer, filled. x: in blocks of 16 channels. active: the list of those that are read, or None."""
        batch = self.problem.x_shape[0]
        beyond = self.plane + amx.SIDE * amx.ROWS  # the last tiles may read so many pixels more
        size = (batch * self.steps * self.planes * self.plane + beyond) * self.depth
        panel = amx.buffer_for_tiles(size, "uint8")
        with loop(batch * self.steps * self.rows, parallel) as task:
            n, step = T.bind(task // (self.steps * self.rows)), T.bind(task // self.rows % self.steps)
            row = T.bind(task % self.rows)
            pieces = Pieces(self.problem, self.depth)
            places = [pieces.place(n, step, number, active) for number in range(pieces.in_step)]
            for offsets in self._offsets():
                self._copy_row(panel, x, layout, n, step, places, row, offsets)
        return panel

    def _copy_row(self, panel, x, layout: Layout, n, step, places: list, row, offsets) -> None:
        rows, columns = self._read(offsets)
        size = self.depth // len(places)
        (height, width), (top, left, *_) = self.problem.spec.strides, self.problem.spec.padding
        plane = (n * self.steps + step) * self.planes + offsets[0] * width + offsets[1]
        first = T.bind((plane * self.plane + row * self.width) * self.depth)

        def copy() -> None:
            with T.serial(columns) as column:
                pixel = [row * height + offsets[0] - top, column * width + offsets[1] - left]
                for number, (block, lane) in enumerate(places):
                    value = x[tuple(layout.index(n, block, *pixel, lanes_from(lane, size)))]
                    T.buffer_store(panel, value, [lanes_from(first + column * self.depth + number * size, size)])

        copy() if rows == self.rows else when(row < rows, copy)

    def _offsets(self) -> list[tuple[int, int]]:
        """Those that some kernel position has."""
        found = (
            sorted({k * self.problem.spec.dilation[axis] % self.problem.spec.strides[axis] for k in range(extent)})
            for axis, extent in enumerate(self.problem.kernel)
        )
        rows, columns = found
        return [(row, column) for row in rows for column in columns]

    def _read(self, offsets) -> tuple[int, int]:
        """Rows and columns of an offset's plane that are read."""
        rows, columns = (
            self.problem.out_shape[2 + axis] + _reach(self.problem, axis, offset) for axis, offset in enumerate(offsets)
        )
        return rows, columns


def _reach(problem: ConvProblem, axis: int, offset: int | None = None) -> int:
    """How many pixels of a plane lie between the first and the last kernel position; of one offset, or of all."""
    stride, dilation = problem.spec.strides[axis], problem.spec.dilation[axis]
    taps = [k * dilation for k in range(problem.kernel[axis])]
    return max(tap // stride for tap in taps if offset is None or tap % stride == offset)


def weights_copied(weight, problem: ConvProblem, block_of, listed, parallel: bool):
    """int8 [N, computed blocks, steps, R, S, depth/4, 64]: the weights of the listed channels.

    weight: packed in blocks of 16 channels of x. block_of(n, position): a computed block of output channels.
    """
    panel, batch = Panel.of(problem), problem.x_shape[0]
    pieces, blocks = Pieces(problem, panel.depth), -(-problem.computed_out // LANES)
    shape = (batch, blocks, panel.steps, *problem.kernel, panel.depth // QUAD, ROW_BYTES)
    copied, row = T.alloc_buffer(shape, "int8", scope="global"), lanes_from(0, ROW_BYTES)
    with loop(batch * blocks, parallel) as task:
        n, position = T.bind(task // blocks), T.bind(task % blocks)
        block = T.bind(block_of(n, position))
        with T.serial(panel.steps) as step:
            for number in range(pieces.in_step):
                x_block, lane = pieces.place(n, step, number, listed)
                is_there = T.bind(T.cast(step * pieces.in_step + number < pieces.count, "int8"))
                with T.grid(*problem.kernel, pieces.size // QUAD) as (r, s, quad):
                    value = weight[block, x_block, r, s, lane // QUAD + quad, row]
                    to = [n, position, step, r, s, number * (pieces.size // QUAD) + quad, row]
                    T.buffer_store(copied, value * T.broadcast(is_there, ROW_BYTES), to)
    return copied
