"""Depthwise convolution over channel blocks: each vector lane is a channel of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tvm.script.ir_builder import tirx as T

from espalier.targets.cpu import Isa

from ..layout import Layout
from ..packing import packing
from .direct import DirectConvolution
from .emit import lanes_from, tiles
from .problem import ConvProblem
from .stored import load


@packing
def pack_depthwise_weight(weight: np.ndarray, lanes: int) -> np.ndarray:
    """[C, 1, R, S] to [C/lanes, R, S, lanes], filled up with zeros."""
    channels, _, r, s = weight.shape
    padded = np.pad(weight, ((0, -channels % lanes), (0, 0), (0, 0), (0, 0)))
    return np.ascontiguousarray(padded.reshape(-1, lanes, r, s).transpose(0, 2, 3, 1))


@dataclass(frozen=True)
class DepthwiseTile:
    """Accumulators held in registers: pixels of a row."""

    columns: int


def choose_depthwise_tile(problem: ConvProblem, isa: Isa) -> DepthwiseTile:
    """Half of the registers, less a few."""
    return DepthwiseTile(min(problem.out_shape[3], isa.registers // 2 - 4))


def legal_depthwise_tiles(problem: ConvProblem, isa: Isa) -> Iterator[DepthwiseTile]:
    """Every tile that fits the registers beside a weight and a value."""
    return map(DepthwiseTile, range(1, min(problem.out_shape[3], isa.registers - 4) + 1))


def depthwise_blocked(
    problem: ConvProblem,
    isa: Isa,
    x_layout: Layout,
    out_layout: Layout,
    residual_layout: Layout | None = None,
    clear_losers: bool = True,
    tile: DepthwiseTile | None = None,
):
    """The kernel, with arguments as in `problem.spec.roles` (weight and bias packed) and the output last.

    All layouts have blocks of isa.lanes. There is no list of active inputs: the winners are those of the input's gate.
    """
    return DepthwiseConvolution(problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile).build()


class DepthwiseConvolution(DirectConvolution):
    """The kernel at work."""

    row_size = 1

    def __init__(self, problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile=None):
        super().__init__(problem, isa, x_layout, out_layout, residual_layout, clear_losers)
        self.lanes, self.columns = isa.lanes, (tile or choose_depthwise_tile(problem, isa)).columns

    def weight_shape(self) -> tuple[int, ...]:
        return (-(-self.problem.channels_out // self.lanes), *self.problem.kernel, self.lanes)

    def channel_tiles(self) -> int:
        return -(-self.problem.computed_out // self.lanes)

    def compute_rows(self, n, channel_tile, first_row, height: int) -> None:
        block = T.bind(self.computed_block(n, channel_tile))
        for start, count, width in tiles(self.problem.out_shape[3], self.columns):
            with T.serial(count) as step:
                first = start + step * width
                pixels = [(first_row + h, first + w) for h in range(height) for w in range(width)]
                self.compute_tile(n, [block], pixels, width)
        self.clear_margins(n, block, first_row, height)

    def reduce(self, total, n, blocks: list, pixels: list) -> None:
        """One multiply-add for each pixel at each kernel position."""
        lane = lanes_from(0, self.lanes)
        with T.grid(*self.problem.kernel) as (r, s):
            weight = T.bind(self.weight(blocks[0], r, s, lane))
            for j, (row, column) in enumerate(pixels):
                h, w = self.problem.row(row, r), self.problem.column(column, s)
                value = load(self.given["x"], self.x_layout, self.x_layout.index(n, blocks[0], h, w, lane))
                total[j] = total[j] + value * weight

    def weight(self, block, r, s, lane):
        """The vector of weights of a channel block at a kernel position."""
        return self.given["weight"][block, r, s, lane]
