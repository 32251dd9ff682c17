"""Convolutions and dense layers as matrix products on tensor cores, dense or over channel lists.

CUDA C++ (templates/conv2d.cuh), not TensorIR: asynchronous copies through a list of channels that is only known at run
time, a rotated shared-memory layout and the reduction over a split depth are each a few lines there, and the same
source runs on a CPU under emulation. Shapes are arguments, so that a network needs only as many compiled variants as
it has tiles and number formats.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espalier.core.layers import ActiveList, Conv2dSpec, LayerSpec
from espalier.targets.gpu import Gpu

from ..kernel_objects import Variant
from ..layout import GROUP, Layout, whole_groups
from .epilogue import flags_of

CHUNK_BYTES, DEPTH_CHUNKS, MOST_PIECES = 16, 8, 1024
"""CHUNK, DEPTH_CHUNKS and MOST_PIECES of the template."""
FLAG_BYTES = 128
"""Static shared memory of a block that counts itself in, up to where dynamic shared memory begins."""
MOST_CHUNKS = 1 << 29
"""Of x: the template counts their halves in 32 bits, those of the padding around the image as well."""


@dataclass(frozen=True)
class Numbers:
    """How products are computed. cpp: the policy in the template. element: of x as stored; weight: of the weight.

    instruction: the format of the tensor instruction; products: instructions for one product. piece_bytes: what is
    copied at a time.
    """

    cpp: str
    element: str
    instruction: str
    products: int = 1
    piece_bytes: int = CHUNK_BYTES

    @property
    def chunk(self) -> int:
        """Channels in a chunk."""
        return CHUNK_BYTES // np.dtype(self.element).itemsize

    @property
    def piece(self) -> int:
        """Channels that are copied at a time: lists of input channels are followed in whole pieces."""
        return self.piece_bytes // np.dtype(self.element).itemsize

    @property
    def weight(self) -> str:
        return "int8" if self.element == "uint8" else self.element

    @property
    def sum(self) -> str:
        return "int32" if self.element == "uint8" else "float32"


NUMBERS = {
    "float16": Numbers("Half", "float16", "float16"),
    "tfloat32": Numbers("RoundedFloat", "float32", "tfloat32"),
    "float32": Numbers("SplitFloat", "float32", "tfloat32", 3),
    "int8": Numbers("Bytes<16>", "uint8", "int8"),
    "int8_pieces": Numbers("Bytes<8>", "uint8", "int8", piece_bytes=8),
}
"""By the format of a layer; "int8_pieces" for a layer of bytes whose input's list is of 8 channels at a time."""
PIECES = {"int8": "int8_pieces"}


@dataclass(frozen=True)
class Tile:
    """What a block computes at a time: rows are pixels, columns output channels; warps share it down and across."""

    rows: int
    columns: int
    warps_down: int
    warps_across: int
    stages: int

    @property
    def threads(self) -> int:
        return 32 * self.warps_down * self.warps_across

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory; Tile::SHARED_BYTES of the template."""
        pipeline = self.stages * (self.rows + self.columns) * DEPTH_CHUNKS * CHUNK_BYTES
        return max(pipeline, self.rows * (self.columns + 8) * 4) + MOST_PIECES * 2

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}_{self.warps_down}x{self.warps_across}_{self.stages}"

    def variant(self, number_format: str) -> Variant:
        """The compiled function for this tile."""
        text = ", ".join(str(value) for value in dataclasses.astuple(self))
        return Variant(
            "conv2d.cu",
            f"espalier_conv2d_{number_format}_{self}",
            (("ESPALIER_NUMBERS", NUMBERS[number_format].cpp), ("ESPALIER_TILE", text)),
            kernel="conv2d",
            threads=self.threads,
            shared_bytes=self.shared_bytes,
        )


TILES = (
    *(Tile(128, 128, 2, 4, 3), Tile(128, 64, 2, 2, 3), Tile(64, 64, 2, 2, 4), Tile(64, 32, 2, 2, 4)),
    *(Tile(256, 128, 4, 2, 3), Tile(256, 64, 4, 2, 3), Tile(256, 32, 4, 1, 3)),
)
"""The second line is for large batches: a weight that a block loads meets more pixels."""
WAITING_TILES = (Tile(128, 64, 4, 2, 2), Tile(64, 64, 2, 2, 2), Tile(64, 32, 2, 2, 2))
"""Of GPUs that copy through registers: two stages are all that is under way, in 64 KiB of shared memory."""


def tiles_of(gpu: Gpu) -> tuple[Tile, ...]:
    """The tiles among which the analytic rule chooses; some may have no room on this GPU, see `legal_tiles.fits`."""
    return TILES if gpu.copies_async else WAITING_TILES


@dataclass(frozen=True)
class Problem:
    """A convolution as the kernel takes it. x_shape, out_shape: logical, [N, C, H, W]; taps: rows and columns.

    winners, active: the lists that it follows; None computes or reads all channels. sums: whether each tile leaves the
    sums of its channels' distances from zero behind, for a gate that reads the output.
    """

    number_format: str
    x_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    taps: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    corner: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    winners: ActiveList | None = None
    active: ActiveList | None = None
    sums: bool = False

    @staticmethod
    def of(spec: LayerSpec, x_shape: Sequence[int], weight_shape: Sequence[int], out_shape: Sequence[int]) -> Problem:
        """The problem of a layer; a dense layer is a convolution of one pixel."""
        number_format = number_format_of(spec)
        piece = NUMBERS[number_format].piece
        lists = {"winners": followed(spec.winners, GROUP), "active": followed(spec.active, piece)}
        x, out = (tuple(shape) if len(shape) == 4 else (*shape, 1, 1) for shape in (x_shape, out_shape))
        if not isinstance(spec, Conv2dSpec):
            return Problem(number_format, x, out, (1, 1), **lists)
        taps, corner = tuple(weight_shape[2:]), tuple(spec.padding[:2])
        return Problem(number_format, x, out, taps, tuple(spec.strides), corner, tuple(spec.dilation), **lists)

    @property
    def numbers(self) -> Numbers:
        return NUMBERS[self.number_format]

    @property
    def x_chunks(self) -> int:
        """Chunks of a pixel as stored."""
        return Layout(self.numbers.element).channels(self.x_shape[1]) // self.numbers.chunk

    @property
    def read_chunks(self) -> int:
        """Chunks of a pixel that are read."""
        return -(-self.active.channels // self.numbers.chunk) if self.active else self.x_chunks

    @property
    def columns(self) -> int:
        """Output channels that are computed."""
        return self.winners.channels if self.winners else whole_groups(self.out_shape[1])

    @property
    def depth(self) -> int:
        """Steps of the depth, DEPTH_CHUNKS chunks each."""
        return -(-self.taps[0] * self.taps[1] * self.read_chunks // DEPTH_CHUNKS)

    @property
    def read_bytes(self) -> int:
        """The least that is read: x once, and of the weight what the samples' lists may name together."""
        size, taps = np.dtype(self.numbers.element).itemsize, self.taps[0] * self.taps[1]
        read = self.active.channels if self.active else self.x_chunks * self.numbers.chunk
        pixels, lists = self.x_shape[0] * self.x_shape[2] * self.x_shape[3], self.x_shape[0]
        whole = whole_groups(self.out_shape[1]) * self.x_chunks * self.numbers.chunk
        listed = min(lists * self.columns * read, whole) if self.winners or self.active else whole
        return size * (pixels * read + taps * listed)

    def tiles_of_sample(self, tile: Tile) -> int:
        """Tiles down, if none spans two samples."""
        return -(-self.out_shape[2] * self.out_shape[3] // tile.rows)

    def tiles(self, tile: Tile) -> tuple[int, int]:
        """Tiles across (output channels) and down (pixels); with lists or sums no tile spans two samples."""
        batch, _, height, width = self.out_shape
        by_sample = bool(self.winners or self.active or self.sums)
        down = batch * self.tiles_of_sample(tile) if by_sample else -(-batch * height * width // tile.rows)
        return -(-self.columns // tile.columns), down


def number_format_of(spec: LayerSpec) -> str:
    """The key of `NUMBERS` for a layer."""
    in_pieces = PIECES.get(spec.format)
    if spec.active is None or in_pieces is None or followed(spec.active, NUMBERS[spec.format].piece):
        return spec.format
    return in_pieces if followed(spec.active, NUMBERS[in_pieces].piece) else spec.format


def fits_table(spec: LayerSpec, c_in: int) -> bool:
    """Whether the pieces of a pixel, all or listed, have room in a block's table."""
    numbers = NUMBERS[number_format_of(spec)]
    listed = followed(spec.active, numbers.piece)
    chunks = -(-(listed.channels if listed else c_in) // numbers.chunk)
    return chunks * numbers.chunk // numbers.piece <= MOST_PIECES


def counts_chunks(spec: LayerSpec, x_shape: Sequence[int]) -> bool:
    """Whether chunks of x can be counted in the kernel."""
    numbers = NUMBERS[spec.format]
    return math.prod(Layout(numbers.element).physical(x_shape)) <= MOST_CHUNKS * numbers.chunk


def followed(listed: ActiveList | None, multiple: int) -> ActiveList | None:
    """The list if whole groups of `multiple` channels run or rest together; else the kernel takes all channels."""
    return listed if listed and listed.granularity % multiple == 0 else None


def list_numbers(listed: ActiveList | None, channels: int) -> list[int]:
    """A list as numbers of a call: groups, channels of a group, groups of the tensor; no groups if there is none."""
    return [listed.count, listed.granularity, channels // listed.granularity] if listed else [0, 1, 1]


@dataclass(frozen=True)
class Schedule:
    """A tile, and among how many blocks the depth is cut."""

    tile: Tile
    splits: int = 1


def zeroed_counters(count: int) -> np.ndarray:
    """[count, 1], int32: what blocks count themselves in with, zero before and after a launch.

    TVM keeps equal constants once. No operand of a kernel has this shape, so that none lies where blocks count.
    """
    return np.zeros((count, 1), np.int32)


def scratch_shapes(problem: Problem, schedule: Schedule) -> tuple[int, int]:
    """Numbers of counters (int32) and of partial sums that a launch needs; zeros without splits."""
    if schedule.splits == 1:
        return 0, 0
    across, down = problem.tiles(schedule.tile)
    return across * down, across * down * schedule.splits * schedule.tile.rows * schedule.tile.columns


def call_numbers(
    problem: Problem, schedule: Schedule, given: Sequence[str], end: Sequence[int | float], fill_resting: bool = False
) -> list[int | float]:
    """The numbers that come before the tensors of a call, in the order of templates/conv2d.cu.

    given: the roles whose tensors the call has. end: of what follows the products, see `epilogue`.
    fill_resting: write what is not computed, too.
    """
    winners, active = problem.winners, problem.active
    lists = list_numbers(winners, problem.out_shape[1])
    if active:
        lists += [active.count, active.granularity // problem.numbers.piece, problem.x_shape[1] // active.granularity]
    else:
        lists += list_numbers(None, 0)
    return [
        flags_of([*given, *(["sums"] if problem.sums else [])], fill_resting),
        *(problem.x_shape[0], *problem.x_shape[2:], problem.x_chunks),
        *(*problem.out_shape[2:], whole_groups(problem.out_shape[1])),
        *(*problem.taps, *problem.strides, *problem.corner, *problem.dilation),
        *lists,
        schedule.splits,
        *end,
    ]


def pack_weight(weight: np.ndarray, number_format: str) -> np.ndarray:
    """[C_out, C_in, R, S] or [C_out, C_in] as the kernel reads it: [C_out, R, S, C_in], padded."""
    numbers = NUMBERS[number_format]
    weight = weight.reshape(*weight.shape, *([1, 1] if weight.ndim == 2 else []))
    stored = whole_groups(weight.shape[0]), Layout(numbers.element).channels(weight.shape[1])
    out, channels = (whole - size for whole, size in zip(stored, weight.shape[:2]))
    padded = np.pad(weight, ((0, out), (0, channels), (0, 0), (0, 0)))
    return np.ascontiguousarray(padded.transpose(0, 2, 3, 1)).astype(numbers.weight)


def outside_of(spec: LayerSpec) -> np.ndarray | None:
    """A chunk of what a quantized convolution's padding holds; None if that is zeros, or if there is none."""
    is_padded = isinstance(spec, Conv2dSpec) and any(spec.padding)
    if spec.integer is None or not spec.integer.x_zero or not is_padded:
        return None
    return np.full(CHUNK_BYTES, spec.integer.x_zero, np.uint8)
