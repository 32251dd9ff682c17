"""Winograd convolution: 3x3 windows at stride 1 by fewer multiplications.

Tiles of m x m outputs are transformed, multiplied position by position, and transformed back, F(m x m, 3 x 3). A
kernel is a parallel loop over (sample, chunk of tiles, part of the output channels). Each task transforms the input of
its tiles into a workspace, then for a few blocks of output channels at a time runs (m + 2)^2 small matrix products
whose sums stay in registers, and transforms their results back as it writes. Input channels come through the list of
active ones and lie side by side in the workspace; output channels are skipped a block at a time.
After: Lavin and Gray, CVPR 2016; the fusion over chunks of tiles as in Jia et al., PPoPP 2018 (sections 4.1, 4.2).
"""

from __future__ import annotations

import math

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.targets.cpu import Isa

from ..layout import Layout
from ..packing import packing
from .convolution import Convolution
from .cook_toom import TAPS, transforms
from .emit import (
    PREFETCH_BYTES,
    PREFETCH_STEPS,
    Accumulators,
    for_tile,
    lanes_from,
    loop,
    prefetch,
    spread,
    tiles,
    when,
)
from .lists import listed_block
from .problem import ConvProblem
from .stored import load
from .transform import transformed
from .winograd_tile import WinogradTile, choose_winograd_tile

AHEAD = PREFETCH_STEPS // 16
"""Blocks of input channels between asking for a weight and its use."""


def conv2d_winograd(
    problem: ConvProblem,
    isa: Isa,
    x_layout: Layout,
    out_layout: Layout,
    residual_layout: Layout | None = None,
    clear_losers: bool = True,
    tile: WinogradTile | None = None,
):
    """The kernel, with arguments as in `problem.spec.roles` (weight and bias packed) and the output last.

    All layouts have blocks of isa.lanes; lists have granularities that are multiples of it.
    """
    return _WinogradConvolution(problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile).build()


@packing
def pack_winograd_weight(weight: np.ndarray, lanes: int, outputs: int) -> np.ndarray:
    """[C_out, C_in, 3, 3] to G g G^T as float32 [C_out/lanes, (m+2)^2, C_in/lanes, lanes, lanes]."""
    c_out, c_in = weight.shape[:2]
    _, taps, _ = transforms(outputs)
    padded = np.pad(weight, ((0, -c_out % lanes), (0, -c_in % lanes), (0, 0), (0, 0)))
    products = np.einsum("ai,kcij,bj->abkc", taps, padded.astype("float64"), taps, optimize=True).astype("float32")
    blocks = products.reshape(len(taps) ** 2, -(-c_out // lanes), lanes, -(-c_in // lanes), lanes)
    return np.ascontiguousarray(blocks.transpose(1, 0, 3, 4, 2))


class _WinogradConvolution(Convolution):
    def __init__(self, problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile):
        super().__init__(problem, isa, x_layout, out_layout, residual_layout, clear_losers)
        self.tile, self.lanes = tile or choose_winograd_tile(problem, isa), isa.lanes
        self.side = self.tile.outputs + TAPS - 1
        self.grid = tuple(-(-extent // self.tile.outputs) for extent in problem.out_shape[2:])
        self.blocks_in = -(-problem.computed_in // self.lanes)
        self.blocks_out = -(-problem.computed_out // self.lanes)

    def weight_shape(self) -> tuple[int, ...]:
        blocks = (-(-channels // self.lanes) for channels in (self.problem.channels_out, self.problem.channels_in))
        out, into = blocks
        return (out, self.side**2, into, self.lanes, self.lanes)

    def compute(self) -> None:
        """The parallel loop."""
        batch, total = self.problem.out_shape[0], math.prod(self.grid)
        chunks, parts = -(-total // self.tile.chunk), self.tile.parts
        with loop(batch * chunks * parts, self.parallel) as task:
            n, part, chunk = T.bind(task // (chunks * parts)), T.bind(task // chunks % parts), T.bind(task % chunks)
            self.data, self.products = (
                T.alloc_buffer((self.side**2, blocks, self.tile.chunk, self.lanes), "float32", scope="global")
                for blocks in (self.blocks_in, self.tile.blocks)
            )
            for_tile(chunk, total, self.tile.chunk, lambda first, size: self._compute_chunk(n, part, first, size))

    def _compute_chunk(self, n, part, first_tile, size: int) -> None:
        """`size` tiles from `first_tile` on, for one part of the output channels."""
        share = -(-self.blocks_out // self.tile.parts)
        self._transform_input(n, first_tile, size)
        with T.serial(-(-share // self.tile.blocks)) as step:
            for_tile(
                step,
                share,
                self.tile.blocks,
                lambda first, count: self._compute_blocks(n, part * share + first, count, first_tile, size),
            )

    def _compute_blocks(self, n, first_block, count: int, first_tile, size: int) -> None:
        blocks = [T.bind(self.computed_block(n, first_block + i)) for i in range(count)]
        with T.serial(self.side**2) as position:
            for start, steps, width in tiles(size, self.tile.columns):
                with T.serial(steps) as step:
                    self._multiply(n, blocks, position, start + step * width, width)
        for i, block in enumerate(blocks):
            pi = T.bind(self.per_channel("pi", [n], block)) if "pi" in self.given else None
            with T.serial(size) as number:
                self._transform_output(n, i, block, pi, number, T.bind(first_tile + number))
            when(first_tile == 0, lambda block=block: self.clear_margins(n, block, 0, self.problem.out_shape[2]))

    def _block_in(self, n, position):
        if self.spec.active is None:
            return position
        return T.bind(listed_block(self.given["active"], n, position, self.spec.active, self.lanes))

    def _wanted_later(self, n, position, into) -> tuple:
        """(position, block of input channels) of the weights that are used AHEAD blocks later."""
        later = into + AHEAD
        return T.bind(position + later // self.blocks_in), self._block_in(n, T.bind(later % self.blocks_in))

    def _transform_input(self, n, first_tile, size: int) -> None:
        """data[position, c, t] = (B^T d B)[position] of tile t, for the input channel blocks that are read."""
        _, _, matrix = transforms(self.tile.outputs)
        vector = lanes_from(0, self.lanes)
        with T.grid(self.blocks_in, size) as (position, number):
            block = self._block_in(n, position)
            rows, columns = self._read_at(T.bind(first_tile + number))
            places = [[self.x_layout.index(n, block, row, column, vector) for column in columns] for row in rows]
            values = [[T.bind(load(self.given["x"], self.x_layout, place)) for place in row] for row in places]
            for i, value in enumerate(transformed(matrix, values, self.lanes)):
                T.buffer_store(self.data, value, [i, position, number, vector])

    def _read_at(self, tile) -> tuple[list, list]:
        """Rows and columns of x under a tile.

        What lies past the margin belongs to outputs that are not stored; it is read from the margin's edge.
        """
        places = []
        for axis, corner in enumerate((tile // self.grid[1], tile % self.grid[1])):
            first = T.bind(corner * self.tile.outputs - self.problem.spec.padding[axis])
            last = self.problem.x_shape[2 + axis] + self.x_layout.halo - 1
            beyond = self.grid[axis] * self.tile.outputs - self.problem.spec.padding[axis] + TAPS - 2 - last
            at = [first + i for i in range(self.side)]
            if beyond > 0:
                at = [T.bind(tirx.min(one, last)) if i >= self.side - beyond else one for i, one in enumerate(at)]
            places.append(at)
        return tuple(places)

    def _multiply(self, n, blocks: list, position, first, width: int) -> None:
        """products[position, :, first : first + width] = sum over c of U[:, c] V[c, first : first + width]."""
        vector = lanes_from(0, self.lanes)
        streams = 4 * math.prod(self.weight_shape()) > PREFETCH_BYTES
        total = Accumulators(len(blocks) * width, self.lanes)
        for number in range(len(blocks) * width):
            total[number] = spread(T.float32(0), self.lanes)
        with T.serial(self.blocks_in) as into:
            block_in = self._block_in(n, into)
            later = self._wanted_later(n, position, into) if streams else ()
            with T.serial(self.lanes) as lane:
                weights = [T.bind(self.given["weight"][block, position, block_in, lane, vector]) for block in blocks]
                for block in blocks if streams else []:
                    prefetch(self.given["weight"], [block, *later, lane, 0])
                for j in range(width):
                    value = T.bind(spread(self.data[position, into, first + j, lane], self.lanes))
                    for i, weight in enumerate(weights):
                        total[i * width + j] = total[i * width + j] + value * weight
        for i in range(len(blocks)):
            for j in range(width):
                T.buffer_store(self.products, total[i * width + j], [position, i, first + j, vector])

    def _transform_output(self, n, i: int, block, pi, number, tile) -> None:
        """Write the m x m outputs A^T M A of a tile, those that lie inside the image."""
        matrix, _, _ = transforms(self.tile.outputs)
        vector = lanes_from(0, self.lanes)
        values = [
            [T.bind(self.products[row * self.side + column, i, number, vector]) for column in range(self.side)]
            for row in range(self.side)
        ]
        _, _, rows, columns = self.problem.out_shape
        first_row = T.bind(tile // self.grid[1] * self.tile.outputs)
        first_column = T.bind(tile % self.grid[1] * self.tile.outputs)
        bias = T.bind(self.bias(block))
        for index, value in enumerate(transformed(matrix, values, self.lanes)):
            h, w = divmod(index, self.tile.outputs)
            row, column = first_row + h, first_column + w

            def store(value=value, row=row, column=column) -> None:
                self.store(self.finished(value + bias, pi, n, block, row, column), n, block, row, column)

            inside = [row < rows] if h >= (rows % self.tile.outputs or self.tile.outputs) else []
            inside += [column < columns] if w >= (columns % self.tile.outputs or self.tile.outputs) else []
            when(tirx.all(*inside), store) if inside else store()
