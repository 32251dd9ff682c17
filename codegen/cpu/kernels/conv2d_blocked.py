"""Direct convolution vectorised over blocks of output channels.

Each step multiplies one broadcast input value by a vector of weights for `block` output channels and adds
into a register tile of tile_blocks x tile_rows x tile_columns accumulators. Input channels are read one by
one, so a list of active inputs costs nothing; output channels are skipped a block at a time.
After: NeoCPU (Liu et al., USENIX ATC 2019, section 3.1), with the channel loops over run-time lists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.targets.cpu import Isa

from ..layout import Layout
from ..packing import packing
from .cost import shared_cycles, step_cycles, streaming_cycles
from .direct import DirectConvolution
from .emit import PREFETCH_BYTES, PREFETCH_STEPS, for_tile, lanes_from, prefetch, spread, tiles
from .lists import listed_block
from .problem import ConvProblem
from .stored import load

SHORT_REDUCTION, SHORT_TILE = 64, 16
"""A sum over so few inputs takes a tile of at most so many vectors: then a processor that works out of order writes
one tile while it sums the next, which a full register file of results does not let it (measured: 3 to 10 %)."""

LEAST_INNERMOST = 8
"""Fewer steps of input channels are not worth a loop inside of the kernel's rows and columns."""


@dataclass(frozen=True)
class Tile:
    """Accumulators held in registers: output channel blocks x rows x columns."""

    blocks: int
    rows: int
    columns: int

    @property
    def vectors(self) -> int:
        """How many accumulators there are."""
        return self.blocks * self.rows * self.columns


def choose_tile(problem: ConvProblem, isa: Isa, together: int = 1) -> Tile:
    """The register tile with the fewest predicted cycles, for steps that multiply so many input channels `together`."""
    summed = problem.computed_in * math.prod(problem.kernel)
    most = SHORT_TILE if summed <= SHORT_REDUCTION * together else isa.registers
    fitting = (tile for tile in legal_tiles(problem, isa) if tile.vectors <= most)
    return min(fitting, key=lambda tile: (predicted_cycles(problem, isa, tile, together), -tile.vectors))


def legal_tiles(problem: ConvProblem, isa: Isa) -> Iterator[Tile]:
    """Every tile whose sums, weights and one input value fit the registers."""
    _, _, rows, columns = problem.out_shape
    blocks = -(-problem.computed_out // isa.lanes)
    for size in range(1, min(blocks, 6) + 1):
        for height in range(1, min(rows, 4) + 1):
            for width in range(1, min(columns, isa.registers) + 1):
                tile = Tile(size, height, width)
                if tile.vectors + size + 1 > isa.registers:
                    break
                yield tile


def predicted_cycles(problem: ConvProblem, isa: Isa, tile: Tile, together: int = 1) -> float:
    """Cycles for the whole kernel with a tile."""
    batch, _, rows, columns = problem.out_shape
    blocks = -(-problem.computed_out // isa.lanes)
    steps = sum(
        count_k * count_h * count_w * step_cycles(k * h * w, k + h * w, together)
        for _, count_k, k in tiles(blocks, tile.blocks)
        for _, count_h, h in tiles(rows, tile.rows)
        for _, count_w, w in tiles(columns, tile.columns)
    )
    summed = -(-problem.computed_in // together) * math.prod(problem.kernel)
    weight_bytes = 4 * summed * blocks * isa.lanes
    work = streaming_cycles(batch * summed * steps, weight_bytes, weight_bytes)
    return shared_cycles(work, batch * -(-blocks // tile.blocks) * -(-rows // tile.rows), isa.cores)


def weight_block(channels_in: int, x_block: int, together: int = 1) -> int:
    """Input channels that lie side by side in the packed weight: a block of x, or all if a step takes a whole block."""
    return -(-channels_in // x_block) * x_block if x_block == together else x_block


@packing
def pack_weight(weight: np.ndarray, lanes: int, x_block: int) -> np.ndarray:
    """[C_out, C_in, R, S] to [C_out/lanes, C_in/b, R, S, b, lanes] for b of `weight_block`, filled up with zeros."""
    return blocks_of(weight, lanes, weight_block(weight.shape[1], x_block)).astype("float32")


def blocks_of(weight: np.ndarray, lanes: int, block: int) -> np.ndarray:
    """[C_out, C_in, R, S] to [C_out/lanes, C_in/block, R, S, block, lanes], filled up with zeros."""
    c_out, c_in, r, s = weight.shape
    padded = np.pad(weight, ((0, -c_out % lanes), (0, -c_in % block), (0, 0), (0, 0)))
    blocks = padded.reshape(-1, lanes, padded.shape[1] // block, block, r, s)
    return np.ascontiguousarray(blocks.transpose(0, 2, 4, 5, 3, 1))


def conv2d_blocked(
    problem: ConvProblem,
    isa: Isa,
    x_layout: Layout,
    out_layout: Layout,
    residual_layout: Layout | None = None,
    clear_losers: bool = True,
    tile: Tile | None = None,
):
    """The kernel, with arguments as in `problem.spec.roles` (weight and bias packed) and the output last.

    x_layout: block 1 or isa.lanes; out_layout and residual_layout: block isa.lanes.
    clear_losers: write zeros to the channel blocks that lose; not needed when every reader uses the list.
    """
    return BlockedConvolution(problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile).build()


class BlockedConvolution(DirectConvolution):
    """The kernel at work. together: input channels that one step multiplies."""

    together = 1

    def __init__(self, problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile):
        super().__init__(problem, isa, x_layout, out_layout, residual_layout, clear_losers)
        self.tile = tile or choose_tile(problem, isa, self.together)
        self.lanes, self.row_size = isa.lanes, self.tile.rows
        self.blocks = -(-problem.computed_out // self.lanes)

    def weight_shape(self) -> tuple[int, ...]:
        blocks_out = -(-self.problem.channels_out // self.lanes)
        block = weight_block(self.problem.channels_in, self.x_layout.block, self.together)
        return (blocks_out, -(-self.problem.channels_in // block), *self.problem.kernel, block, self.lanes)

    def channel_tiles(self) -> int:
        return -(-self.blocks // self.tile.blocks)

    def compute_rows(self, n, channel_tile, first_row, height: int) -> None:
        for_tile(
            channel_tile,
            self.blocks,
            self.tile.blocks,
            lambda first, size: self._compute_blocks(n, first, size, first_row, height),
        )

    def _compute_blocks(self, n, first_block, size: int, first_row, height: int) -> None:
        """All columns of `height` rows for `size` channel blocks."""
        blocks = [T.bind(self.computed_block(n, first_block + i)) for i in range(size)]
        for start, count, width in tiles(self.problem.out_shape[3], self.tile.columns):
            with T.serial(count) as step:
                first = start + step * width
                pixels = [(first_row + h, first + w) for h in range(height) for w in range(width)]
                self.compute_tile(n, blocks, pixels, width)
        for block in blocks:
            self.clear_margins(n, block, first_row, height)

    def reduce(self, total, n, blocks: list, pixels: list) -> None:
        """Serial loops over input channels and kernel positions around one straight-line step.

        Channels are innermost where there are some: those of a block of x, or all of them. Were it the kernel's
        columns, LLVM would unroll them and read each pixel once for all; the sums then lose their registers
        (measured: up to 3.4 times as long). Weights of plain inputs lie in the order of the sums and are not fetched
        ahead.
        """
        outer, inner = self._input_loops()
        if self.x_layout.block > self.together:
            with T.serial(outer) as position:
                x_block, first_lane = self._input_block(n, position)
                ahead = self._prefetched(n, position, outer)
                with T.grid(*self.problem.kernel, inner // self.together) as (r, s, step):
                    for block in blocks if ahead else []:
                        prefetch(self.given["weight"], ahead(block, r, s, step))
                    lane = first_lane // self.together + step
                    self._step(total, n, blocks, pixels, (r, s), (x_block, lane), (x_block, lane))
        elif outer >= LEAST_INNERMOST:
            with T.grid(*self.problem.kernel, outer) as (r, s, position):
                x_block, _ = self._input_block(n, position)
                self._step(total, n, blocks, pixels, (r, s), (0, x_block), (x_block, 0))
        else:
            with T.serial(outer) as position:
                x_block, _ = self._input_block(n, position)
                with T.grid(*self.problem.kernel) as (r, s):
                    self._step(total, n, blocks, pixels, (r, s), (0, x_block), (x_block, 0))

    def _step(self, total, n, blocks: list, pixels: list, place: tuple, of_weight: tuple, of_x: tuple) -> None:
        """Add the products at a place (row, column) of the kernel. of_weight, of_x: (block, step in it) of inputs."""
        r, s = place
        weights = [T.bind(self.weight(block, of_weight[0], r, s, of_weight[1])) for block in blocks]
        for j, (row, column) in enumerate(pixels):
            h, w = self.problem.row(row, r), self.problem.column(column, s)
            value = T.bind(spread(self.value(n, of_x[0], h, w, of_x[1]), self.lanes))
            for i, weight in enumerate(weights):
                number = i * len(pixels) + j
                total[number] = self.with_product(total[number], value, weight)

    def weight(self, block, x_block, r, s, step):
        """The vector of weights that a step multiplies with."""
        return self.given["weight"][block, x_block, r, s, step, lanes_from(0, self.lanes)]

    def value(self, n, x_block, row, column, step):
        """What a step reads of x at one pixel."""
        return load(self.given["x"], self.x_layout, self.x_layout.index(n, x_block, row, column, step))

    def with_product(self, total, value, weight):
        """A sum after one more product."""
        return total + value * weight

    def _prefetched(self, n, position, outer: int) -> Callable | None:
        """Which weight to ask for at a step, so that it is there PREFETCH_STEPS steps later; None to ask for none."""
        if np.dtype(self.weight_element).itemsize * np.prod(self.weight_shape()) < PREFETCH_BYTES:
            return None  # it stays in the caches
        steps_in_block = int(np.prod(self.weight_shape()[2:5]))
        later = tirx.min(position + -(-PREFETCH_STEPS // steps_in_block), outer - 1)
        x_block, first_lane = self._input_block(n, later)
        first_step = first_lane // self.together
        rest = len(self.weight_shape()) - 5
        return lambda block, r, s, step: [block, x_block, r, s, first_step + step, *[0] * rest]

    def _input_loops(self) -> tuple[int, int]:
        """Extents of the loops over blocks of input channels and over the channels in one."""
        block, active = self.x_layout.block, self.spec.active
        if active is None:
            return -(-self.problem.channels_in // block), block
        if active.granularity >= block:
            return active.channels // block, block
        return active.count, active.granularity

    def _input_block(self, n, position):
        """(channel block of x, first lane in it) at a position of the outer channel loop."""
        block, active = self.x_layout.block, self.spec.active
        if active is None:
            return position, 0
        if active.granularity >= block:
            return T.bind(listed_block(self.given["active"], n, position, active, block)), 0
        channel = T.bind(self.given["active"][n, position] * active.granularity)
        return T.bind(channel // block), T.bind(channel % block)
