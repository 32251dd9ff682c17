"""Direct convolution vectorised over pixels: every plane is read and written on its own.

Each step multiplies a vector of neighbouring pixels by one broadcast weight, for a register tile of
tile_channels x tile_rows x tile_vectors accumulators. Both input and output channels can be skipped one by
one, which narrow layers need; grouped and depthwise convolutions are the same loops over fewer channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from tvm.script.ir_builder import tirx as T

from espalier.targets.cpu import Isa

from ..layout import Layout
from .emit import PARALLEL_MACS, accumulators, activated, build_kernel, for_tile, lanes_from, loop, spread, tiles
from .halo import clear_block, clear_margins
from .lists import for_each_channel, for_each_losing_block
from .problem import ConvProblem


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


def predicted_cycles(problem: ConvProblem, isa: Isa) -> float:
    """Cycles of one core for the whole kernel: multiply-adds or loads, whichever is more, as in `conv2d_blocked`.

    Pixels that lie a stride apart are loaded one by one.
    """
    tile = choose_planar_tile(problem, isa)
    batch, _, rows, columns = problem.out_shape
    pixels = tile.rows * tile.vectors
    loads = pixels * (tile.lanes if problem.spec.strides[1] > 1 else 1) + tile.channels
    step = max(tile.channels * pixels / 2, loads / 2, 4) + 0.5
    vectors = -(-columns // tile.lanes)
    count = -(-rows // tile.rows) * -(-vectors // tile.vectors) * (problem.computed_out // tile.channels)
    return batch * count * step * problem.computed_in * problem.kernel[0] * problem.kernel[1]


def weight_unit(problem: ConvProblem, tile: PlanarTile) -> int:
    """Output channels whose weights lie side by side: what a tile and a group of winners have in common."""
    return math.gcd(tile.channels, problem.spec.winners.granularity) if problem.spec.winners else tile.channels


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
    return _PlanarConv(problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile).build()


def _channels_together(problem: ConvProblem) -> int:
    """Output channels among which a tile may not cross a border: a group's, or all that are computed."""
    return problem.channels_out // problem.spec.groups if problem.spec.groups > 1 else problem.computed_out


class _PlanarConv:
    def __init__(self, problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile):
        self.problem, self.spec = problem, problem.spec
        self.x_layout, self.out_layout, self.residual_layout = x_layout, out_layout, residual_layout
        self.clear_losers = clear_losers
        self.tile = tile or choose_planar_tile(problem, isa)
        self.unit = weight_unit(problem, self.tile)
        self.parallel = problem.macs > PARALLEL_MACS

    def build(self):
        arguments = [(role, *self._type(role)) for role in self.spec.roles]
        arguments.append(("out", self.out_layout.physical(self.problem.out_shape), "float32"))
        return build_kernel(self.spec.name, arguments, self._body)

    def _type(self, role: str) -> tuple:
        problem, batch, channels = self.problem, self.problem.out_shape[0], self.problem.channels_out
        if role == "winners":
            return (batch, self.spec.winners.count), "int32"
        if role == "active":
            return (batch, self.spec.active.count), "int32"
        shape = {
            "x": lambda: self.x_layout.physical(problem.x_shape),
            "weight": lambda: (channels // self.unit, problem.weight_shape[1], *problem.kernel, self.unit),
            "bias": lambda: (channels,),
            "residual": lambda: self.residual_layout.physical(problem.out_shape),
            "pi": lambda: (batch, channels),
        }[role]()
        return shape, "float32"

    def _body(self, *buffers) -> None:
        self.given = dict(zip((*self.spec.roles, "out"), buffers))
        batch, _, rows, _ = self.problem.out_shape
        channel_tiles, row_tiles = self.problem.computed_out // self.tile.channels, -(-rows // self.tile.rows)
        if self.spec.winners and (self.clear_losers or self._losers_pass_residual):
            clear = partial(clear_block, self.given["out"], self.out_layout, self.problem.out_shape)
            write = self._pass_residual if self._losers_pass_residual else clear
            for_each_losing_block(self.given["winners"], self.problem, 1, write)
        with loop(batch * channel_tiles * row_tiles, self.parallel) as task:
            n = T.bind(task // (channel_tiles * row_tiles))
            first_channel = T.bind(task // row_tiles % channel_tiles * self.tile.channels)
            row_tile = T.bind(task % row_tiles)
            for_tile(row_tile, rows, self.tile.rows, lambda h, height: self._rows(n, first_channel, h, height))

    @property
    def _losers_pass_residual(self) -> bool:
        """Under a gate on the branch, a losing channel is the activation of the residual alone."""
        return self.spec.gate == "branch" and "residual" in self.spec.roles

    def _pass_residual(self, n, channel) -> None:
        _, _, rows, columns = self.problem.out_shape
        with T.grid(rows, columns) as (row, column):
            value = self.given["residual"][tuple(self.residual_layout.index(n, channel, row, column))]
            value = activated(self.spec.activation, value, 1)
            T.buffer_store(self.given["out"], value, self.out_layout.index(n, channel, row, column))
        clear_margins(self.given["out"], self.out_layout, self.problem.out_shape, n, channel, 0, rows)

    def _rows(self, n, first_channel, first_row, height: int) -> None:
        """All columns of `height` rows for one tile of channels."""
        units = [T.bind(self._unit(n, first_channel, i)) for i in range(self.tile.channels // self.unit)]
        channels = [(unit, lane) for unit in units for lane in range(self.unit)]
        lanes, columns = self.tile.lanes, self.problem.out_shape[3]
        vectors = columns // lanes
        for start, count, size in tiles(vectors, self.tile.vectors):
            with T.serial(count) as step:
                places = [(start + step * size + i) * lanes for i in range(size)]
                self._tile(n, channels, first_row, height, places)
        if columns % lanes:
            # The last vector overlaps the one before it: the same values are written twice.
            self._tile(n, channels, first_row, height, [columns - lanes])
        for unit, lane in channels:
            clear_margins(
                self.given["out"],
                self.out_layout,
                self.problem.out_shape,
                n,
                unit * self.unit + lane,
                first_row,
                height,
            )

    def _unit(self, n, first_channel, number: int):
        """The weight unit at a place of the tile, in units of the whole layer."""
        position = first_channel // self.unit + number
        winners = self.spec.winners
        if winners is None:
            return position
        per_group = winners.granularity // self.unit
        return self.given["winners"][n, position // per_group] * per_group + position % per_group

    def _tile(self, n, channels: list, first_row, height: int, columns: list) -> None:
        pixels = [(first_row + h, column) for h in range(height) for column in columns]
        lanes, total = self.tile.lanes, accumulators(len(channels) * len(pixels), self.tile.lanes)
        for i, (unit, lane) in enumerate(channels):
            channel = unit * self.unit + lane
            start = self.given["bias"][channel] if "bias" in self.given else T.float32(0)
            start = T.bind(spread(start, lanes))
            for j in range(len(pixels)):
                T.buffer_store(total, start, [i * len(pixels) + j])
        self._reduce(total, n, channels, pixels)
        for i, (unit, lane) in enumerate(channels):
            channel = unit * self.unit + lane
            pi = T.bind(spread(self.given["pi"][n, channel], lanes)) if "pi" in self.given else None
            for j, (row, column) in enumerate(pixels):
                value = self._epilogue(total[i * len(pixels) + j], pi, n, channel, row, column)
                halo = self.out_layout.halo
                T.buffer_store(self.given["out"], value, [n, channel, row + halo, lanes_from(column + halo, lanes)])

    def _reduce(self, total, n, channels: list, pixels: list) -> None:
        kernel_rows, kernel_columns = self.problem.kernel
        per_group_in = self.problem.weight_shape[1]
        group = 0
        if self.spec.groups > 1:
            per_group_out = self.problem.channels_out // self.spec.groups
            group = T.bind((channels[0][0] * self.unit) // per_group_out)

        def step(channel) -> None:
            with T.grid(kernel_rows, kernel_columns) as (r, s):
                values = [T.bind(self._pixels(n, group * per_group_in + channel, pixel, r, s)) for pixel in pixels]
                for i, (unit, lane) in enumerate(channels):
                    weight = T.bind(spread(self.given["weight"][unit, channel, r, s, lane], self.tile.lanes))
                    for j, value in enumerate(values):
                        number = i * len(pixels) + j
                        T.buffer_store(total, total[number] + value * weight, [number])

        for_each_channel(self.given.get("active"), n, self.spec.active, per_group_in, step)

    def _pixels(self, n, channel, pixel, r, s):
        row, column = pixel
        halo = self.x_layout.halo
        first = self.problem.column(column, s) + halo
        place = lanes_from(first, self.tile.lanes, self.spec.strides[1])
        return self.given["x"][n, channel, self.problem.row(row, r) + halo, place]

    def _epilogue(self, value, pi, n, channel, row, column):
        if self.spec.gate == "branch":
            value = value * pi
        if "residual" in self.given:
            halo = self.residual_layout.halo
            place = lanes_from(column + halo, self.tile.lanes)
            value = value + self.given["residual"][n, channel, row + halo, place]
        value = activated(self.spec.activation, value, self.tile.lanes)
        return value * pi if self.spec.gate == "output" else value
