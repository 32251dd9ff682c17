"""Convolutions and dense layers as matrix products on tensor cores, dense or over channel lists.

CUDA C++ (templates/conv2d.cuh), not TensorIR: asynchronous copies through a list of channels that is only known at run
time, a rotated shared-memory layout and the reduction over a split depth are each a few lines there, and the same
source runs on a CPU under emulation. Shapes are arguments, so that a network needs only as many compiled variants as
it has tiles and number formats.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espalier.core.layers import ActiveList, Conv2dSpec, LayerSpec

from ..kernel_objects import Variant
from ..layout import GROUP, whole_groups

CHUNK_BYTES, DEPTH_CHUNKS, MOST_CHUNKS = 16, 8, 1024
"""CHUNK, DEPTH_CHUNKS and MOST_CHUNKS of the template."""
FLAGS = {"bias": 1, "residual": 2, "pi": 4, "winners": 8, "active": 16}
FILL_RESTING = 32
GATES = {"none": 0, "listed": 0, "branch": 1, "output": 2}
ACTIVATIONS = {"none": 0, "relu": 1, "clip": 2}


@dataclass(frozen=True)
class Numbers:
    """How products are computed. cpp: the policy in the template. element: of x and the weight as stored.

    instruction: the format of the tensor instruction; products: instructions for one product.
    """

    cpp: str
    element: str
    instruction: str
    products: int = 1

    @property
    def chunk(self) -> int:
        """Channels in a chunk."""
        return CHUNK_BYTES // np.dtype(self.element).itemsize


NUMBERS = {
    "float16": Numbers("Half", "float16", "float16"),
    "tfloat32": Numbers("RoundedFloat", "float32", "tfloat32"),
    "float32": Numbers("SplitFloat", "float32", "tfloat32", 3),
}
"""By the format of a layer."""


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
        return max(pipeline, self.rows * (self.columns + 4) * 4) + MOST_CHUNKS * 2

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"

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


TILES = (Tile(128, 128, 2, 4, 3), Tile(128, 64, 2, 2, 3), Tile(64, 64, 2, 2, 4), Tile(64, 32, 2, 2, 4))


@dataclass(frozen=True)
class Problem:
    """A convolution as the kernel takes it. x_shape, out_shape: logical, [N, C, H, W]; taps: rows and columns.

    winners, active: the lists that it follows; None computes or reads all channels.
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

    @staticmethod
    def of(spec: LayerSpec, x_shape: Sequence[int], weight_shape: Sequence[int], out_shape: Sequence[int]) -> Problem:
        """The problem of a layer; a dense layer is a convolution of one pixel."""
        lists = {"winners": followed(spec.winners, GROUP), "active": followed(spec.active, NUMBERS[spec.format].chunk)}
        x, out = (tuple(shape) if len(shape) == 4 else (*shape, 1, 1) for shape in (x_shape, out_shape))
        if not isinstance(spec, Conv2dSpec):
            return Problem(spec.format, x, out, (1, 1), **lists)
        taps, corner = tuple(weight_shape[2:]), tuple(spec.padding[:2])
        return Problem(spec.format, x, out, taps, tuple(spec.strides), corner, tuple(spec.dilation), **lists)

    @property
    def numbers(self) -> Numbers:
        return NUMBERS[self.number_format]

    @property
    def x_chunks(self) -> int:
        """Chunks of a pixel as stored."""
        return whole_groups(self.x_shape[1]) // self.numbers.chunk

    @property
    def read_chunks(self) -> int:
        """Chunks of a pixel that are read."""
        return self.active.channels // self.numbers.chunk if self.active else self.x_chunks

    @property
    def columns(self) -> int:
        """Output channels that are computed."""
        return self.winners.channels if self.winners else whole_groups(self.out_shape[1])

    @property
    def depth(self) -> int:
        """Steps of the depth, DEPTH_CHUNKS chunks each."""
        return -(-self.taps[0] * self.taps[1] * self.read_chunks // DEPTH_CHUNKS)

    def tiles(self, tile: Tile) -> tuple[int, int]:
        """Tiles across (output channels) and down (pixels); with lists no tile spans two samples."""
        pixels, by_sample = self.out_shape[2] * self.out_shape[3], bool(self.winners or self.active)
        down = self.out_shape[0] * -(-pixels // tile.rows) if by_sample else -(-pixels * self.out_shape[0] // tile.rows)
        return -(-self.columns // tile.columns), down


def followed(listed: ActiveList | None, multiple: int) -> ActiveList | None:
    """The list if whole groups of `multiple` channels run or rest together; else the kernel takes all channels."""
    return listed if listed and listed.granularity % multiple == 0 else None


@dataclass(frozen=True)
class Schedule:
    """A tile, and among how many blocks the depth is cut."""

    tile: Tile
    splits: int = 1


def scratch_shapes(problem: Problem, schedule: Schedule) -> tuple[int, int]:
    """Numbers of counters (int32) and of partial sums (float32) that a launch needs; zeros without splits."""
    if schedule.splits == 1:
        return 0, 0
    across, down = problem.tiles(schedule.tile)
    return across * down, across * down * schedule.splits * schedule.tile.rows * schedule.tile.columns


def call_numbers(
    spec: LayerSpec,
    problem: Problem,
    schedule: Schedule,
    given: Sequence[str],
    y_dtype: str,
    residual_dtype: str = "float32",
    fill_resting: bool = False,
) -> list[int | float]:
    """The numbers that come before the tensors of a call, in the order of templates/conv2d.cu.

    given: the roles whose tensors the call has, of `FLAGS`. fill_resting: write what is not computed, too.
    """
    winners, active = problem.winners, problem.active
    flags = sum(FLAGS[role] for role in given) + (FILL_RESTING if fill_resting else 0)
    lists = [winners.count, winners.granularity, problem.out_shape[1] // winners.granularity] if winners else [0, 1, 1]
    if active:
        lists += [active.count, active.granularity // problem.numbers.chunk, problem.x_shape[1] // active.granularity]
    else:
        lists += [0, 1, 1]
    return [
        flags,
        *(problem.x_shape[0], *problem.x_shape[2:], problem.x_chunks),
        *(*problem.out_shape[2:], whole_groups(problem.out_shape[1])),
        *(*problem.taps, *problem.strides, *problem.corner, *problem.dilation),
        *lists,
        schedule.splits,
        *(GATES[spec.gate], ACTIVATIONS[spec.activation.kind]),
        *(int(residual_dtype == "float16"), int(y_dtype == "float16")),
        *(float(spec.activation.low), float(spec.activation.high)),
    ]


def pack_weight(weight: np.ndarray, number_format: str) -> np.ndarray:
    """[C_out, C_in, R, S] or [C_out, C_in], float32, as the kernel reads it: [C_out, R, S, C_in], padded."""
    weight = weight.reshape(*weight.shape, *([1, 1] if weight.ndim == 2 else []))
    out, channels = (whole_groups(size) - size for size in weight.shape[:2])
    padded = np.pad(weight, ((0, out), (0, channels), (0, 0), (0, 0)))
    return np.ascontiguousarray(padded.transpose(0, 2, 3, 1)).astype(NUMBERS[number_format].element)


def pack_vector(vector: np.ndarray) -> np.ndarray:
    """[C], float32, with zeros up to a whole group."""
    return np.pad(vector.astype(np.float32), (0, whole_groups(len(vector)) - len(vector)))
