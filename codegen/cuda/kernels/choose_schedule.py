"""Tile and split of a convolution by an analytic rule.

The time of a launch is waves times the time of a block, and no less than it takes to read its operands from memory. A
step of a block takes as long as the slowest of three: the tensor cores that the SM's resident blocks share, the L2
cache's bandwidth for one SM, and the latency of one step's chain of loads and products. The constants were not fitted
on a GPU yet; they order schedules, and are no measurement.
Source of the wave model: Yu et al., Towards Latency-aware DNN Optimization with GPU Runtime Analysis and Tail Effect
Elimination, 2020.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from espalier.targets.gpu import Gpu

from . import channel_gate, dense_codebook
from .conv2d import CHUNK_BYTES, DEPTH_CHUNKS, FLAG_BYTES, TILES, Numbers, Problem, Schedule, Tile, tiles_of
from .legal_tiles import MOST_REGISTERS, registers_of

MMA_SYNC_SHARE = {(9, 0): 0.62}
"""Of the tensor cores' rate that mma.sync reaches; Hopper's full rate takes wgmma. 0.9 elsewhere."""
L2_BYTES_PER_CLOCK = 32
"""Of one SM."""
INTEGER_LANES = 64
"""Results in one clock of one SM: byte permutations, logic and dp4a alike (CUDA C++ Programming Guide 13.0, "Arithmetic
Instructions", 7.5 to 9.0)."""
INSTRUCTIONS_OF_FOUR_CODES = 8
"""Three permutations, four that make their selectors, and the products of four codes."""
STEP_CLOCKS = 260
"""Least clocks of a step: four chains of ldmatrix and mma."""
BLOCK_CLOCKS = 2500
"""Of a block before and after its steps."""
SPLIT_CLOCKS = 1500
"""More of them where parts are added up."""
SUM_CLOCKS = 400
"""More of a block that sums its channels for a gate: two barriers, and a load for each thread that had the channel."""
SPLITS = (1, 2, 3, 4, 6, 8, 12, 16)


@dataclass(frozen=True)
class Waves:
    """How the blocks of a launch fill a GPU. resident: blocks that one SM holds; tail: share of the last wave's places
    that stay empty."""

    blocks: int
    resident: int
    waves: int
    tail: float


def resident_blocks(gpu: Gpu, threads: int, registers: int, shared_bytes: int) -> int:
    """Blocks that one SM holds at a time; 0 if not even one fits.

    Registers are given out to warps in units of 256, shared memory in units of 128 bytes after 1 KiB for the system.
    """
    warps = -(-threads // 32)
    warp_registers = -(-registers * 32 // 256) * 256
    by_shared = gpu.shared_bytes // (-(-shared_bytes // 128) * 128 + 1024) if shared_bytes else gpu.blocks
    if shared_bytes > gpu.block_shared_bytes:
        return 0
    return min(gpu.blocks, gpu.warps // warps, gpu.registers // warp_registers // warps, by_shared)


def resident_of(tile: Tile, numbers: Numbers, gpu: Gpu) -> int:
    """Blocks of the tile that one SM holds; 0 if it spills registers or has no room."""
    registers = registers_of(tile, numbers, gpu)
    if registers > MOST_REGISTERS:
        return 0
    return resident_blocks(gpu, tile.threads, registers, tile.shared_bytes + FLAG_BYTES)


def waves_of(gpu: Gpu, blocks: int, resident: int) -> Waves:
    """The waves of a launch."""
    places = gpu.sms * resident
    waves = -(-blocks // places)
    return Waves(blocks, resident, waves, 1 - blocks / (waves * places))


def predicted_s(problem: Problem, schedule: Schedule, gpu: Gpu) -> float:
    """Predicted seconds of a launch, without what launching costs; infinite if no block fits."""
    tile, numbers = schedule.tile, problem.numbers
    across, down = problem.tiles(tile)
    blocks = across * down * schedule.splits
    resident = resident_of(tile, numbers, gpu)
    if not resident:
        return float("inf")
    held = min(resident, -(-blocks // gpu.sms))
    rate = gpu.tensor_macs[numbers.instruction] * MMA_SYNC_SHARE.get(gpu.capability, 0.9) / numbers.products
    macs = tile.rows * tile.columns * DEPTH_CHUNKS * numbers.chunk
    loads = (tile.rows + tile.columns) * DEPTH_CHUNKS * CHUNK_BYTES
    step = max(STEP_CLOCKS, held * macs / rate, held * loads / L2_BYTES_PER_CLOCK)
    steps = -(-problem.depth // schedule.splits)
    extra = SPLIT_CLOCKS + schedule.splits * tile.rows * tile.columns * 4 / L2_BYTES_PER_CLOCK
    block = BLOCK_CLOCKS + steps * step + (extra if schedule.splits > 1 else 0) + (SUM_CLOCKS if problem.sums else 0)
    seconds = waves_of(gpu, blocks, held).waves * block / gpu.clock_hz
    return max(seconds, problem.read_bytes / gpu.bandwidth_bytes_s)


def predicted_codebook_s(gpu: Gpu, batch: int, chunks: int, channels: int) -> float:
    """Predicted seconds of a dense layer of packed codes: each sample decodes all of them again, from the L2 cache."""
    shared, rows = chunks * dense_codebook.CODES, dense_codebook.ROWS_OF_BLOCK
    across = -(-channels // rows)
    resident = max(1, resident_blocks(gpu, dense_codebook.THREADS, dense_codebook.REGISTERS, shared))
    held = min(resident, -(-batch * across // gpu.sms))
    loads = rows * chunks * dense_codebook.CHUNK_BYTES + shared
    work = rows * chunks * dense_codebook.CODES // 4 * INSTRUCTIONS_OF_FOUR_CODES
    block = BLOCK_CLOCKS + held * max(loads / L2_BYTES_PER_CLOCK, work / INTEGER_LANES)
    seconds = waves_of(gpu, batch * across, held).waves * block / gpu.clock_hz
    return max(seconds, channels * chunks * dense_codebook.CHUNK_BYTES / gpu.bandwidth_bytes_s)


def predicted_reading_s(gpu: Gpu, blocks: int, threads: int, block_bytes: float, clocks: int = 0) -> float:
    """Predicted seconds of a launch whose blocks read so many bytes each. clocks: what a block takes besides."""
    held = min(gpu.warps * 32 // threads, -(-blocks // gpu.sms))
    block = BLOCK_CLOCKS + clocks + held * block_bytes / L2_BYTES_PER_CLOCK
    return waves_of(gpu, blocks, held).waves * block / gpu.clock_hz


def predicted_gate_s(gpu: Gpu, batch: int, parts: int, sums_bytes: int, phi_bytes: int) -> float:
    """Predicted seconds of a gate: each of a sample's blocks reads all sums and its share of phi; one then waits for
    the others."""
    clocks = SPLIT_CLOCKS if parts > 1 else 0
    return predicted_reading_s(gpu, batch * parts, channel_gate.THREADS, sums_bytes + phi_bytes / parts, clocks)


def schedules(problem: Problem, tiles: Iterable[Tile] = TILES) -> list[Schedule]:
    """Every schedule with one of these tiles; the rule itself has few, so that networks share compiled functions."""
    return [Schedule(tile, splits) for tile in tiles for splits in SPLITS if splits <= problem.depth]


def choose_schedule(problem: Problem, gpu: Gpu) -> Schedule:
    """The schedule that is predicted to be the fastest; a tie goes to fewer splits."""
    return min(schedules(problem, tiles_of(gpu)), key=lambda one: (predicted_s(problem, one, gpu), one.splits))
