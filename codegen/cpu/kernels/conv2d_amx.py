"""Convolution of unsigned bytes with signed ones by products of tiles, on processors with AMX.

The input is first copied so that the channels that one product sums lie side by side (`amx_panel`). There the pixels
that belong to neighbouring outputs are neighbours at every kernel position, so a tile is any 16 pixels in a row of
memory; what crosses the end of an output row is computed and dropped. A task computes all outputs of a band of rows for
two blocks of 16 channels: first the sums, into memory that stays in the nearest cache, then from them the bytes.
Source: Intel, 64 and IA-32 architectures optimization reference manual, chapter 20 (blocks of two tiles by two).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tvm.script.ir_builder import tirx as T

from espalier.targets.cpu import Isa

from ..layout import Layout
from . import amx
from .amx import LANES, ROW_BYTES, SIDE
from .amx_panel import Panel, depth_of, weights_copied
from .conv2d_int8 import pack_quads
from .cost import shared_cycles, streaming_cycles
from .direct import TiledConvolution
from .emit import for_tile, lanes_from, loop, tiles
from .int8 import QUAD
from .narrow import PIXELS
from .problem import ConvProblem
from .quantized import Quantized

SUM_BYTES = 32 << 10
"""As much memory for sums leaves room for the tiles in the nearest cache (48 KiB)."""

GROUPS_OF_A_CORE = 4
"""Of tasks, so that a core that is late can be helped."""

COPY_CYCLES = 1.0
"""For 16 bytes of the input: measured."""


@dataclass(frozen=True)
class Band:
    """Output rows that one task computes."""

    rows: int


@dataclass(frozen=True)
class Cut:
    """Neighbouring pixels cut into tiles: `steps` times `side` tiles of `rows` pixels."""

    steps: int
    side: int
    rows: int

    @property
    def pixels(self) -> int:
        """That are computed."""
        return self.steps * self.side * self.rows


def cut(pixels: int, rows: int | None = None) -> Cut:
    """Tiles of so many rows; by default the fewest tiles, as low as they may be."""
    side = 1 if pixels <= (rows or amx.ROWS) else SIDE
    steps = -(-pixels // (side * (rows or amx.ROWS)))
    return Cut(steps, side, rows or -(-pixels // (side * steps)))


def can_multiply_tiles(problem: ConvProblem, isa: Isa) -> bool:
    """Whether the kernel can compute a problem of bytes."""
    return amx.has_tiles(isa) and problem.spec.groups == 1 and problem.channels_in >= LANES


def legal_bands(problem: ConvProblem, _isa: Isa) -> Iterator[Band]:
    """Every number of rows whose sums fit; always one."""
    panel = Panel.of(problem)
    for rows in range(1, problem.out_shape[2] + 1):
        if rows == 1 or SIDE * cut(panel.pixels(rows)).pixels * ROW_BYTES <= SUM_BYTES:
            yield Band(rows)


def choose_band(problem: ConvProblem, isa: Isa) -> Band:
    """The one with the fewest predicted cycles."""
    return min(legal_bands(problem, isa), key=lambda band: predicted_cycles(problem, isa, band))


def predicted_cycles(problem: ConvProblem, isa: Isa, band: Band) -> float:
    """Cycles for the whole kernel with a band."""
    batch, _, rows, _ = problem.out_shape
    panel, blocks = Panel.of(problem), -(-problem.computed_out // LANES)
    most = cut(panel.pixels(band.rows)).rows
    cuts = [(count, cut(panel.pixels(height), most)) for _, count, height in tiles(rows, band.rows)]
    products = panel.steps * math.prod(problem.kernel)
    step = sum(
        columns * count * one.steps * _step_cycles(one.side, size, one.rows)
        for _, columns, size in tiles(blocks, SIDE)
        for count, one in cuts
    )
    weight_bytes = products * panel.depth * blocks * LANES
    work = streaming_cycles(batch * products * step, weight_bytes, weight_bytes)
    tasks = batch * -(-blocks // SIDE) * -(-rows // band.rows)
    return shared_cycles(work, tasks, isa.cores) + COPY_CYCLES * batch * panel.copied / LANES / isa.cores


def _step_cycles(left: int, right: int, rows: int) -> float:
    """Of the products of so many tiles of pixels with so many of weights."""
    return max(amx.PRODUCT_CYCLES * left * right * rows, amx.LOAD_CYCLES * (left + right))


def conv2d_amx(
    problem: ConvProblem,
    isa: Isa,
    x_layout: Layout,
    out_layout: Layout,
    residual_layout: Layout | None = None,
    clear_losers: bool = True,
    band: Band | None = None,
):
    """The kernel, with arguments as in `problem.spec.roles` (constants packed) and the output last.

    problem: as `conv2d_int8` takes it, one that `can_multiply_tiles`. All layouts: block 16; x's is filled with its
    zero point. The weight is packed by `pack_tiles`.
    """
    return _TilesConvolution(problem, isa, x_layout, out_layout, residual_layout, clear_losers, band).build()


def pack_tiles(weight: np.ndarray, problem: ConvProblem) -> np.ndarray:
    """`pack_quads` in blocks of as many input channels as a tile has, or of 16 where some are listed."""
    return pack_quads(weight, LANES, _weight_depth(problem))


def _weight_depth(problem: ConvProblem) -> int:
    return LANES if problem.spec.active else depth_of(problem)


class _TilesConvolution(Quantized, TiledConvolution):
    def __init__(self, problem, isa, x_layout, out_layout, residual_layout, clear_losers, band):
        super().__init__(problem, isa, x_layout, out_layout, residual_layout, clear_losers)
        self.row_size = (band or choose_band(problem, isa)).rows
        self.lanes, self.panel = LANES, Panel.of(problem)
        self.blocks = -(-problem.computed_out // LANES)
        whole = cut(self.panel.pixels(self.row_size))
        self.tile_rows, self.pixels = whole.rows, whole.pixels

    def weight_shape(self) -> tuple[int, ...]:
        blocks, depth = -(-self.problem.channels_out // LANES), _weight_depth(self.problem)
        return (blocks, -(-self.problem.channels_in // depth), *self.problem.kernel, depth // QUAD, ROW_BYTES)

    def channel_tiles(self) -> int:
        return -(-self.blocks // SIDE)

    def compute(self) -> None:
        """The input, then groups of tasks: to configure the tiles takes as long as a short task."""
        active, weight = self.given.get("active"), self.given["weight"]
        self.x = self.panel.copied_from(self.given["x"], self.x_layout, active, self.parallel)
        if active is not None:
            weight = weights_copied(weight, self.problem, self.computed_block, active, self.parallel)
        self.weight = weight
        tasks = self.tasks()
        groups = min(tasks, GROUPS_OF_A_CORE * self.isa.cores)
        with loop(groups, self.parallel) as group:
            self.sums = amx.buffer_for_tiles(SIDE * self.pixels * LANES, "int32")
            amx.configure(self.tile_rows, self.panel.depth)
            first, behind = group * tasks // groups, (group + 1) * tasks // groups
            with T.serial(behind - first) as number:
                self.compute_task(T.bind(first + number))
            amx.release()

    def compute_rows(self, n, channel_tile, first_row, height: int) -> None:
        for_tile(
            channel_tile,
            self.blocks,
            SIDE,
            lambda first, size: self._compute_blocks(n, first, size, first_row, height),
        )

    def _compute_blocks(self, n, first_block, size: int, first_row, height: int) -> None:
        """All columns of `height` rows for `size` channel blocks."""
        blocks = [T.bind(self.computed_block(n, first_block + i)) for i in range(size)]
        weights = blocks if self.spec.active is None else [first_block + i for i in range(size)]
        one = cut(self.panel.pixels(height), self.tile_rows)
        with T.serial(one.steps) as step:
            self._sum(n, blocks, weights, first_row, T.bind(step * (one.side * one.rows)), one)
        for i, block in enumerate(blocks):
            self._write_rows(i, n, block, first_row, height)
            self.clear_margins(n, block, first_row, height)

    def _sum(self, n, blocks: list, weights: list, first_row, first_pixel, one: Cut) -> None:
        """One step of the cut for these channel blocks. weights: where theirs are."""
        sample = [] if self.spec.active is None else [n]
        pixels = [first_pixel + j * one.rows for j in range(one.side)]
        for i, block in enumerate(blocks):
            for j in range(one.side):
                amx.load(amx.SUMS + i * SIDE + j, self.given["bias"], [block * LANES], 0)  # one row again and again
        with T.grid(self.panel.steps, *self.problem.kernel) as (step, r, s):
            for j, pixel in enumerate(pixels):
                amx.load(amx.LEFT + j, self.x, self.panel.place(n, step, r, s, first_row, pixel), self.panel.depth)
            for i, place in enumerate(weights):
                amx.load(amx.RIGHT + i, self.weight, [*sample, place, step, r, s, 0, 0], ROW_BYTES)
                for j in range(one.side):
                    amx.add_products(amx.SUMS + i * SIDE + j, amx.LEFT + j, amx.RIGHT + i)
        for i in range(len(blocks)):
            for j, pixel in enumerate(pixels):
                amx.store(amx.SUMS + i * SIDE + j, self.sums, [(i * self.pixels + pixel) * LANES])

    def _write_rows(self, i: int, n, block, first_row, height: int) -> None:
        """The outputs of a channel block from its sums."""
        factors = self.factors(n, block)
        with T.serial(height) as h:
            for start, count, width in tiles(self.problem.out_shape[3], PIXELS):
                with T.serial(count) as step:
                    column = T.bind(start + step * width)
                    first = T.bind((i * self.pixels + h * self.panel.width + column) * LANES)
                    values = [T.bind(self.sums[lanes_from(first + j * LANES, LANES)]) for j in range(width)]
                    self.write(values, factors, n, block, [(first_row + h, column + j) for j in range(width)])
