"""How a Winograd convolution is cut, and what it then costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from espalier.targets.cpu import Isa

from .cook_toom import POINTS, TAPS
from .cost import shared_cycles, step_cycles, streaming_cycles
from .emit import tiles
from .problem import ConvProblem

TRANSFORM_CYCLES = 4.5
"""Cycles of one transform of a block of channels for each of the tile's (m + 2)^2 positions: measured."""

CHUNKS = (1, 2, 4)
"""A task may take so many tiles of the products: the more, the less often weights are read."""

MOST_BLOCKS = 3
"""Blocks of output channels side by side: each is a stream of weights of its own, and four were 20 to 60 % slower."""


@dataclass(frozen=True)
class WinogradTile:
    """How the work is cut.

    outputs: m, rows and columns of a tile. chunk: tiles of a task. blocks x columns: accumulators of the products,
    output channel blocks times tiles. parts: the output channels are divided among so many tasks.
    """

    outputs: int
    chunk: int
    blocks: int
    columns: int
    parts: int = 1


def choose_winograd_tile(problem: ConvProblem, isa: Isa) -> WinogradTile:
    """The cut with the fewest predicted cycles."""
    return min(legal_winograd_tiles(problem, isa), key=lambda tile: predicted_cycles(problem, isa, tile))


def predicted_cycles(problem: ConvProblem, isa: Isa, tile: WinogradTile) -> float:
    """Cycles for the whole kernel, cut this way."""
    positions = (tile.outputs + TAPS - 1) ** 2
    total, batch = _tile_count(problem, tile.outputs), problem.out_shape[0]
    into, out = (-(-channels // isa.lanes) for channels in (problem.computed_in, problem.computed_out))
    share = -(-out // tile.parts)
    weight_bytes = 4 * positions * share * into * isa.lanes**2
    work, tasks = 0.0, 0
    for _, count, size in tiles(total, tile.chunk):
        transforms = TRANSFORM_CYCLES * positions * size * (into + share)
        steps = sum(
            row_count * column_count * step_cycles(blocks * columns, blocks + columns)
            for _, row_count, blocks in tiles(share, tile.blocks)
            for _, column_count, columns in tiles(size, tile.columns)
        )
        arithmetic = positions * into * isa.lanes * steps
        held_bytes = tile.parts * weight_bytes + 4 * positions * size * into * isa.lanes
        products = streaming_cycles(arithmetic, weight_bytes, held_bytes)
        work += batch * tile.parts * count * (transforms + products)
        tasks += batch * tile.parts * count
    return shared_cycles(work, tasks, isa.cores)


def legal_winograd_tiles(problem: ConvProblem, isa: Isa) -> Iterator[WinogradTile]:
    """Every cut whose sums fit the registers."""
    out = -(-problem.computed_out // isa.lanes)
    for outputs in POINTS:
        total = _tile_count(problem, outputs)
        for columns in range(1, min(total, isa.registers - 4) + 1):
            for blocks in range(1, min(out, MOST_BLOCKS, (isa.registers - 4) // columns) + 1):
                for chunk in sorted({min(times * columns, total) for times in CHUNKS}):
                    for parts in sorted({1, min(2, out), min(isa.cores, out)}):
                        if out % parts == 0:
                            yield WinogradTile(outputs, chunk, blocks, columns, parts)


def _tile_count(problem: ConvProblem, outputs: int) -> int:
    """Tiles of one sample."""
    return math.prod(-(-extent // outputs) for extent in problem.out_shape[2:])
