"""Direct convolution vectorised over pixels: every plane is read and written on its own.

Each step multiplies a vector of neighbouring pixels by one broadcast weight, for a register tile of
tile_channels x tile_rows x tile_vectors accumulators. Both input and output channels can be skipped one by
one, which narrow layers need; grouped and depthwise convolutions are the same loops over fewer channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tvm.script.ir_builder import tirx as T

from espalier.targets.cpu import Isa

from ..layout import Layout
from ..packing import packing
from .cost import step_cycles
from .direct import DirectConvolution
from .emit import lanes_from, spread, tiles
from .lists import for_each_channel, listed_block
from .problem import ConvProblem
from .stored import load

MOST_CHANNELS = 16
"""Channels of a tile, at most: each is a stream of weights and of outputs of its own."""


@dataclass(frozen=True)
class PlanarTile:
    """Accumulators held in registers: channels x rows x vectors of `lanes` pixels."""

    channels: int
    rows: int
    vectors: int
    lanes: int


def choose_planar_tile(problem: ConvProblem, isa: Isa) -> PlanarTile:
    """About eight channels deep, then as many pixels as the registers hold."""
    _, _, rows, columns = problem.out_shape
    lanes = min(isa.lanes, 1 << (columns.bit_length() - 1))
    channels = math.gcd(8, _channels_together(problem))
    vectors = max(1, min(-(-columns // lanes), 3))
    room = (isa.registers - 4) // channels
    height = max(1, min(rows, room // vectors, 4))
    return PlanarTile(channels, height, vectors, lanes)


def legal_planar_tiles(problem: ConvProblem, isa: Isa) -> Iterator[PlanarTile]:
    """Every tile whose sums fit the registers beside a few values, with as long vectors as the image has."""
    lanes = choose_planar_tile(problem, isa).lanes
    _, _, rows, columns = problem.out_shape
    together = _channels_together(problem)
    for channels in (size for size in range(1, min(together, MOST_CHANNELS) + 1) if together % size == 0):
        for height in range(1, min(rows, 4) + 1):
            for vectors in range(1, min(-(-columns // lanes), 4) + 1):
                if channels * height * vectors <= isa.registers - 4:
                    yield PlanarTile(channels, height, vectors, lanes)


def predicted_cycles(problem: ConvProblem, isa: Isa, tile: PlanarTile) -> float:
    """Cycles of one core for the whole kernel: multiply-adds or loads, whichever is more, as in `conv2d_blocked`.

    Pixels that lie a stride apart are loaded one by one.
    """
    batch, _, rows, columns = problem.out_shape
    pixels = tile.rows * tile.vectors
    loads = pixels * (tile.lanes if problem.spec.strides[1] > 1 else 1) + tile.channels
    step = step_cycles(tile.channels * pixels, loads)
    vectors = -(-columns // tile.lanes)
    count = -(-rows // tile.rows) * -(-vectors // tile.vectors) * (problem.computed_out // tile.channels)
    return batch * count * step * problem.computed_in * problem.kernel[0] * problem.kernel[1]


def weight_unit(problem: ConvProblem, tile: PlanarTile) -> int:
    """Output channels whose weights lie side by side: what a tile and a group of winners have in common."""
    return math.gcd(tile.channels, problem.spec.winners.granularity) if problem.spec.winners else tile.channels


@packing
def pack_planar_weight(weight: np.ndarray, unit: int) -> np.ndarray:
    """[C_out, C_in, R, S] to [C_out/unit, C_in, R, S, unit]."""
    c_out, c_in, r, s = weight.shape
    return np.ascontiguousarray(weight.reshape(c_out // unit, unit, c_in, r, s).transpose(0, 2, 3, 4, 1))


def conv2d_planar(
    problem: ConvProblem,
    isa: Isa,
    x_layout: Layout,
    out_layout: Layout,
    residual_layout: Layout | None = None,
    clear_losers: bool = True,
    tile: PlanarTile | None = None,
):
    """The kernel, with arguments as in `problem.spec.roles` (weight packed) and the output last; all blocks are 1."""
    return PlanarConvolution(problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile).build()


def _channels_together(problem: ConvProblem) -> int:
    """Output channels among which a tile may not cross a border: a group's, or all that are computed."""
    return problem.channels_out // problem.spec.groups if problem.spec.groups > 1 else problem.computed_out


class PlanarConvolution(DirectConvolution):
    """The kernel at work."""

    def __init__(self, problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile):
        super().__init__(problem, isa, x_layout, out_layout, residual_layout, clear_losers)
        self.tile = tile or choose_planar_tile(problem, isa)
        self.lanes, self.row_size = self.tile.lanes, self.tile.rows
        self.unit = weight_unit(problem, self.tile)
        assert problem.spec.winners is None or problem.spec.groups == 1 or problem.is_depthwise

    def weight_shape(self) -> tuple[int, ...]:
        units = self.problem.channels_out // self.unit
        return (units, self.problem.weight_shape[1], *self.problem.kernel, self.unit)

    def channel_tiles(self) -> int:
        return self.problem.computed_out // self.tile.channels

    def compute_rows(self, n, channel_tile, first_row, height: int) -> None:
        count = self.tile.channels // self.unit
        units = [T.bind(self._unit(n, channel_tile * count + i)) for i in range(count)]
        channels = [unit * self.unit + lane for unit in units for lane in range(self.unit)]
        columns = self.problem.out_shape[3]
        for start, count, size in tiles(columns // self.lanes, self.tile.vectors):
            with T.serial(count) as step:
                first = (start + step * size) * self.lanes
                self._compute_vectors(n, channels, first_row, height, [first + i * self.lanes for i in range(size)])
        if columns % self.lanes:
            # The last vector overlaps the one before it: the same values are written twice.
            self._compute_vectors(n, channels, first_row, height, [columns - self.lanes])
        for channel in channels:
            self.clear_margins(n, channel, first_row, height)

    def per_channel(self, role: str, before: list, block):
        return spread(self.given[role][(*before, block)], self.lanes)

    def _compute_vectors(self, n, channels: list, first_row, height: int, columns: list) -> None:
        self.compute_tile(n, channels, [(first_row + h, column) for h in range(height) for column in columns])

    def _unit(self, n, position):
        """The weight unit at a position among the computed ones, in units of the whole layer."""
        if self.spec.winners is None:
            return position
        return listed_block(self.given["winners"], n, position, self.spec.winners, self.unit)

    def reduce(self, total, n, blocks: list, pixels: list) -> None:
        """A loop over input channels, then over kernel positions, around one straight-line step."""
        per_group_in = self.problem.weight_shape[1]
        first_channel = 0
        if self.spec.groups > 1:
            group = blocks[0] // (self.problem.channels_out // self.spec.groups)
            first_channel = T.bind(group * per_group_in)

        def step(channel) -> None:
            with T.grid(*self.problem.kernel) as (r, s):
                values = [T.bind(self._pixels(n, first_channel + channel, pixel, r, s)) for pixel in pixels]
                for i, block in enumerate(blocks):
                    weight = self.given["weight"][block // self.unit, channel, r, s, i % self.unit]
                    weight = T.bind(self.spread_weight(weight))
                    for j, value in enumerate(values):
                        number = i * len(pixels) + j
                        total[number] = total[number] + value * weight

        for_each_channel(self.given.get("active"), n, self.spec.active, per_group_in, step)

    def spread_weight(self, weight):
        """A vector of copies of a weight."""
        return spread(weight, self.lanes)

    def _pixels(self, n, channel, pixel, r, s):
        """Input pixels under a vector of outputs, a stride apart."""
        row, column = pixel
        halo = self.x_layout.halo
        columns = lanes_from(self.problem.column(column, s) + halo, self.lanes, self.spec.strides[1])
        return load(self.given["x"], self.x_layout, [n, channel, self.problem.row(row, r) + halo, columns])
