"""Which tiles of the convolution a GPU can run: registers and shared memory are counted before anything is compiled.

Registers of the tiles among which the rule chooses are ptxas's for the architectures of `registers.json`, which
`count_registers` writes, so that the rule counts the same resident blocks as a profile of what was compiled. Elsewhere,
and of other tiles, which a tuner tries out, they are an estimate.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from espalier.targets.gpu import Gpu

from .conv2d import DEPTH_CHUNKS, FLAG_BYTES, Numbers, Tile

ROWS, COLUMNS, STAGES = (64, 128, 256), (32, 64, 128), (2, 3, 4)
WARPS = ((2, 1), (1, 2), (2, 2), (4, 1), (4, 2), (2, 4))
"""Down and across."""
REGISTERS = Path(__file__).with_name("registers.json")
MOST_REGISTERS = 255
"""Of a thread."""
OTHER_REGISTERS = 48
"""Addresses, counters and the epilogue; with it the estimate is within 15 of what ptxas takes for 128x128, 128x64
and 64x64 (float16 and int8, sm_90a), within 30 for float32."""


def registers_of(tile: Tile, numbers: Numbers, gpu: Gpu) -> int:
    """Registers of a thread; of a tile that was compiled with those that had no place, else about."""
    known = _counted().get(gpu.arch, {}).get(numbers.cpp, {}).get(str(tile))
    return known or estimated_registers(tile, numbers, gpu)


@functools.cache
def _counted() -> Mapping[str, Mapping[str, Mapping[str, int]]]:
    """By architecture, policy in the template, and tile."""
    return json.loads(REGISTERS.read_text())


def estimated_registers(tile: Tile, numbers: Numbers, gpu: Gpu) -> int:
    """Sums, operands of one step, what copying keeps, and the rest."""
    rows, columns = tile.rows // tile.warps_down // 16, tile.columns // tile.warps_across // 8
    operands = 4 * rows + 2 * columns
    if numbers.products > 1:  # small parts of one row and of all columns, and partial sums of the row
        operands += 4 + 2 * columns + 4 * columns
    left, right = (size * DEPTH_CHUNKS // tile.threads for size in (tile.rows, tile.columns))
    held = 0 if gpu.copies_async else 4 * (left + right)
    return 4 * rows * columns + operands + 4 * left + 2 * right + held + OTHER_REGISTERS


def divides(tile: Tile) -> bool:
    """Whether warps have whole pairs of matrix instructions, and threads whole copies."""
    warps = tile.rows % (16 * tile.warps_down) == 0 and tile.columns % (16 * tile.warps_across) == 0
    copies = (size * DEPTH_CHUNKS % tile.threads == 0 for size in (tile.rows, tile.columns))
    return warps and all(copies) and tile.rows * DEPTH_CHUNKS <= 32 * tile.threads


def has_memory(tile: Tile, gpu: Gpu) -> bool:
    """Whether a block gets the shared memory that the tile takes."""
    return tile.shared_bytes + FLAG_BYTES <= gpu.block_shared_bytes


def fits(tile: Tile, numbers: Numbers, gpu: Gpu) -> bool:
    """Whether a block of the tile has room: float32 has more operands, older GPUs less memory."""
    return has_memory(tile, gpu) and registers_of(tile, numbers, gpu) <= MOST_REGISTERS


def legal_tiles(numbers: Numbers, gpu: Gpu) -> Iterator[Tile]:
    """Every tile that is expected neither to spill registers nor to exceed a block's shared memory."""
    for rows, columns, (down, across), stages in itertools.product(ROWS, COLUMNS, WARPS, STAGES):
        tile = Tile(rows, columns, down, across, stages)
        if divides(tile) and fits(tile, numbers, gpu):
            yield tile
