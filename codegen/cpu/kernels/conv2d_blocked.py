"""Direct convolution vectorised over blocks of output channels.

Each step multiplies one broadcast input value by a vector of weights for `block` output channels and adds
into a register tile of tile_blocks x tile_rows x tile_columns accumulators. Input channels are read one by
one, so a list of active inputs costs nothing; output channels are skipped a block at a time.
After: NeoCPU (Liu et al., USENIX ATC 2019, section 3.1), with the channel loops over run-time lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from tvm.script.ir_builder import tirx as T

from espalier.targets.cpu import Isa

from ..layout import Layout
from .emit import PARALLEL_MACS, accumulators, activated, build_kernel, for_tile, lanes_from, loop, spread, tiles
from .halo import clear_block, clear_margins
from .lists import for_each_losing_block, listed_block
from .problem import ConvProblem


@dataclass(frozen=True)
class Tile:
    """Accumulators held in registers: output channel blocks x rows x columns."""

    blocks: int
    rows: int
    columns: int


def choose_tile(problem: ConvProblem, isa: Isa) -> Tile:
    """The register tile with the fewest predicted cycles.

    A step over one input value costs the larger of its multiply-adds (two a cycle), its loads (two a
    cycle), and the latency of the accumulators' chain (four cycles).
    """
    _, _, rows, columns = problem.out_shape
    blocks = -(-problem.computed_out // isa.lanes)
    best = None
    for size in range(1, min(blocks, 6) + 1):
        for height in range(1, min(rows, 4) + 1):
            for width in range(1, min(columns, isa.registers) + 1):
                if size * height * width + size + 1 > isa.registers:
                    break
                cost = _cycles(blocks, size, rows, height, columns, width)
                key = (cost, -size * height * width)
                if best is None or key < best[0]:
                    best = key, Tile(size, height, width)
    return best[1]


def predicted_cycles(problem: ConvProblem, isa: Isa) -> float:
    """Cycles of one core for the whole kernel with the chosen tile."""
    tile, blocks = choose_tile(problem, isa), -(-problem.computed_out // isa.lanes)
    batch, _, rows, columns = problem.out_shape
    steps = batch * problem.computed_in * problem.kernel[0] * problem.kernel[1]
    return steps * _cycles(blocks, tile.blocks, rows, tile.rows, columns, tile.columns)


def _cycles(blocks: int, size: int, rows: int, height: int, columns: int, width: int) -> float:
    total = 0.0
    for _, count_k, k in tiles(blocks, size):
        for _, count_h, h in tiles(rows, height):
            for _, count_w, w in tiles(columns, width):
                step = max(k * h * w / 2, (h * w + k) / 2, 4) + 0.5
                total += count_k * count_h * count_w * step
    return total


def pack_weight(weight: np.ndarray, lanes: int, x_block: int) -> np.ndarray:
    """[C_out, C_in, R, S] to [C_out/lanes, C_in/x_block, R, S, x_block, lanes], filled up with zeros."""
    c_out, c_in, r, s = weight.shape
    padded = np.pad(weight, ((0, -c_out % lanes), (0, -c_in % x_block), (0, 0), (0, 0))).astype("float32")
    blocks = padded.reshape(-1, lanes, padded.shape[1] // x_block, x_block, r, s)
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
    return _BlockedConv(problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile).build()


class _BlockedConv:
    def __init__(self, problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile):
        self.problem, self.spec, self.lanes = problem, problem.spec, isa.lanes
        self.x_layout, self.out_layout, self.residual_layout = x_layout, out_layout, residual_layout
        self.clear_losers = clear_losers
        self.tile = tile or choose_tile(problem, isa)
        self.blocks = -(-problem.computed_out // self.lanes)
        self.parallel = problem.macs > PARALLEL_MACS

    def build(self):
        arguments = [(role, *self._type(role)) for role in self.spec.roles]
        arguments.append(("out", self.out_layout.physical(self.problem.out_shape), "float32"))
        return build_kernel(self.spec.name, arguments, self._body)

    def _type(self, role: str) -> tuple:
        problem, batch = self.problem, self.problem.out_shape[0]
        all_blocks = -(-problem.channels_out // self.lanes)
        in_blocks = -(-problem.channels_in // self.x_layout.block)
        if role == "winners":
            return (batch, self.spec.winners.count), "int32"
        if role == "active":
            return (batch, self.spec.active.count), "int32"
        shape = {
            "x": lambda: self.x_layout.physical(problem.x_shape),
            "weight": lambda: (all_blocks, in_blocks, *problem.kernel, self.x_layout.block, self.lanes),
            "bias": lambda: (all_blocks * self.lanes,),
            "residual": lambda: self.residual_layout.physical(problem.out_shape),
            "pi": lambda: (batch, problem.channels_out),
        }[role]()
        return shape, "float32"

    def _body(self, *buffers) -> None:
        self.given = dict(zip((*self.spec.roles, "out"), buffers))
        batch, _, rows, _ = self.problem.out_shape
        row_tiles, block_tiles = -(-rows // self.tile.rows), -(-self.blocks // self.tile.blocks)
        if self.spec.winners and (self.clear_losers or self._losers_pass_residual):
            clear = partial(clear_block, self.given["out"], self.out_layout, self.problem.out_shape)
            write = self._pass_residual if self._losers_pass_residual else clear
            for_each_losing_block(self.given["winners"], self.problem, self.lanes, write)
        with loop(batch * block_tiles * row_tiles, self.parallel) as task:
            n = T.bind(task // (block_tiles * row_tiles))
            block_tile = T.bind(task // row_tiles % block_tiles)
            row_tile = T.bind(task % row_tiles)
            for_tile(
                block_tile,
                self.blocks,
                self.tile.blocks,
                lambda k, size: for_tile(
                    row_tile, rows, self.tile.rows, lambda h, height: self._rows(n, k, size, h, height)
                ),
            )

    @property
    def _losers_pass_residual(self) -> bool:
        """Under a gate on the branch, a losing channel is the activation of the residual alone."""
        return self.spec.gate == "branch" and "residual" in self.spec.roles

    def _pass_residual(self, n, block) -> None:
        _, _, rows, columns = self.problem.out_shape
        lane = lanes_from(0, self.lanes)
        with T.grid(rows, columns) as (row, column):
            value = self.given["residual"][tuple(self.residual_layout.index(n, block, row, column, lane))]
            value = activated(self.spec.activation, value, self.lanes)
            T.buffer_store(self.given["out"], value, self.out_layout.index(n, block, row, column, lane))
        clear_margins(self.given["out"], self.out_layout, self.problem.out_shape, n, block, 0, rows)

    def _rows(self, n, first_block, size: int, first_row, height: int) -> None:
        """All columns of `height` rows for `size` channel blocks."""
        blocks = [T.bind(self._block(n, first_block + i)) for i in range(size)]
        for start, count, width in tiles(self.problem.out_shape[3], self.tile.columns):
            with T.serial(count) as step:
                self._tile(n, blocks, first_row, height, start + step * width, width)
        for block in blocks:
            clear_margins(self.given["out"], self.out_layout, self.problem.out_shape, n, block, first_row, height)

    def _block(self, n, position):
        if self.spec.winners is None:
            return position
        return listed_block(self.given["winners"], n, position, self.spec.winners, self.lanes)

    def _tile(self, n, blocks: list, first_row, height: int, first_column, width: int) -> None:
        pixels = [(first_row + h, first_column + w) for h in range(height) for w in range(width)]
        total = accumulators(len(blocks) * len(pixels), self.lanes)
        for i, block in enumerate(blocks):
            start = (
                T.bind(self._per_channel("bias", [], block))
                if "bias" in self.given
                else spread(T.float32(0), self.lanes)
            )
            for j in range(len(pixels)):
                T.buffer_store(total, start, [i * len(pixels) + j])
        self._reduce(total, n, blocks, pixels)
        for i, block in enumerate(blocks):
            pi = T.bind(self._per_channel("pi", [n], block)) if "pi" in self.given else None
            for j, (row, column) in enumerate(pixels):
                value = self._epilogue(total[i * len(pixels) + j], pi, n, block, row, column)
                lane = lanes_from(0, self.lanes)
                T.buffer_store(self.given["out"], value, self.out_layout.index(n, block, row, column, lane))

    def _reduce(self, total, n, blocks: list, pixels: list) -> None:
        """Loop over input channels and kernel positions; four serial loops around one straight-line step."""
        kernel_rows, kernel_columns = self.problem.kernel
        block, active = self.x_layout.block, self.spec.active
        if active is None:
            outer, inner = -(-self.problem.channels_in // block), block
        elif active.granularity >= block:
            outer, inner = active.count * (active.granularity // block), block
        else:
            outer, inner = active.count, active.granularity
        with T.serial(outer) as position:
            x_block, first_lane = self._input_block(n, position)
            with T.grid(kernel_rows, kernel_columns, inner) as (r, s, step):
                lane = first_lane + step
                weights = [
                    T.bind(self.given["weight"][one, x_block, r, s, lane, lanes_from(0, self.lanes)]) for one in blocks
                ]
                for j, (row, column) in enumerate(pixels):
                    place = self.x_layout.index(
                        n, x_block, self.problem.row(row, r), self.problem.column(column, s), lane
                    )
                    value = T.bind(spread(self.given["x"][tuple(place)], self.lanes))
                    for i, weight in enumerate(weights):
                        number = i * len(pixels) + j
                        T.buffer_store(total, total[number] + value * weight, [number])

    def _input_block(self, n, position):
        """(channel block of x, first lane in it) at a position of the outer channel loop."""
        block, active = self.x_layout.block, self.spec.active
        if active is None:
            return position, 0
        if active.granularity >= block:
            return T.bind(listed_block(self.given["active"], n, position, active, block)), 0
        channel = T.bind(self.given["active"][n, position] * active.granularity)
        return T.bind(channel // block), T.bind(channel % block)

    def _per_channel(self, role: str, before: list, block):
        return self.given[role][(*before, lanes_from(block * self.lanes, self.lanes))]

    def _epilogue(self, value, pi, n, block, row, column):
        if self.spec.gate == "branch":
            value = value * pi
        if "residual" in self.given:
            lane = lanes_from(0, self.lanes)
            value = value + self.given["residual"][tuple(self.residual_layout.index(n, block, row, column, lane))]
        value = activated(self.spec.activation, value, self.lanes)
        return value * pi if self.spec.gate == "output" else value
