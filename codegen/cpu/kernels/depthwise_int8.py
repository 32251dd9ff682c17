"""Depthwise convolution of bytes: sixteen channels of four neighbouring pixels at a step.

Those 64 bytes lie side by side; one permutation (Intel SDM volume 2, VPERMB) brings the four pixels of each channel
together, as VPDPBUSD sums them. One permuted vector serves every output column whose window it meets: the weights of
each come shifted, with zeros where the window ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.targets.cpu import Isa

from ..layout import Layout
from ..packing import packing
from .depthwise_blocked import DepthwiseConvolution
from .direct import DirectConvolution
from .emit import lanes_from
from .int8 import QUAD, dot_quads
from .narrow import PIXELS
from .problem import ConvProblem
from .quantized import Quantized

_LANES = 16
_PERMUTE = "llvm.x86.avx512.permvar.qi.512"
_ROWS = 4
"""Output rows that share permuted vectors."""

Taps = tuple[int, ...]
"""Of the four pixels of a vector, the kernel column that each meets; -1 for none."""


@dataclass(frozen=True)
class Group:
    """Output columns that are computed together.

    vectors: for each permuted vector its first pixel (counted from `origin`, or from the image's first column in
    the last groups) and the taps of each output column that it serves, by the column's number in the group.
    """

    columns: int
    vectors: tuple[tuple[int, tuple[tuple[int, Taps], ...]], ...]

    @property
    def products(self) -> int:
        """Of vectors, for one row of the kernel."""
        return sum(len(served) for _, served in self.vectors)


def can_permute(problem: ConvProblem, isa: Isa) -> bool:
    """Whether the target permutes bytes, and windows are of neighbouring pixels in rows of at least four."""
    wide_enough = problem.x_shape[3] + 2 * problem.halo_needed >= QUAD
    return bool(isa.permute and isa.has_vnni) and problem.spec.dilation[1] == 1 and wide_enough


@dataclass(frozen=True)
class Cover:
    """How the output columns of a problem are divided into groups of equal shape and a few last ones."""

    problem: ConvProblem

    @cached_property
    def regular(self) -> Group:
        """The shape with the fewest products and permutations for a column."""
        stride, taps = self.problem.spec.strides[1], self.problem.kernel[1]
        groups = [_group([stride * i for i in range(size)], taps) for size in (1, 2, 4)]
        best = min(groups, key=lambda one: (one.products + len(one.vectors)) / one.columns)
        return _repeated(best, PIXELS // best.columns, stride)

    @cached_property
    def count(self) -> int:
        """Of regular groups: those that read nothing beyond the margin."""
        reach = self.regular.vectors[-1][0] + QUAD
        groups = range(self.problem.out_shape[3] // self.regular.columns, 0, -1)
        fitting = (n for n in groups if self.problem.column((n - 1) * self.regular.columns, 0) + reach <= self._end)
        return next(fitting, 0)

    @cached_property
    def last(self) -> list[tuple[int, Group]]:
        """(first column, group) of the others; their vectors end with the margin at the latest."""
        size, columns = self.regular.columns, self.problem.out_shape[3]
        found = []
        for first in range(self.count * size, columns, size):
            pixels = [self.problem.column(q, 0) for q in range(first, min(first + size, columns))]
            found.append((first, _group(pixels, self.problem.kernel[1], self._end)))
        return found

    @cached_property
    def patterns(self) -> list[Taps]:
        """Every arrangement of taps, in the order in which weights are packed."""
        groups = [self.regular, *(group for _, group in self.last)]
        return sorted({taps for group in groups for _, served in group.vectors for _, taps in served})

    @property
    def _end(self) -> int:
        return self.problem.x_shape[3] + self.problem.halo_needed


def _group(first_pixels: list[int], taps: int, end: int | None = None) -> Group:
    """Vectors one after another over all windows, none beyond `end`."""
    position, vectors = min(first_pixels), []
    while position < max(first_pixels) + taps:
        start = position if end is None else min(position, end - QUAD)
        served = []
        for number, first in enumerate(first_pixels):
            met = [p - first if p >= position and 0 <= p - first < taps else -1 for p in range(start, start + QUAD)]
            if max(met) >= 0:
                served.append((number, tuple(met)))
        vectors.append((start, tuple(served)))
        position = start + QUAD
    return Group(len(first_pixels), tuple(vectors))


def _repeated(group: Group, times: int, stride: int) -> Group:
    """Several groups side by side."""
    vectors = [
        (start + i * group.columns * stride, tuple((i * group.columns + column, taps) for column, taps in served))
        for i in range(times)
        for start, served in group.vectors
    ]
    return Group(times * group.columns, tuple(vectors))


def pack_taps(weight: np.ndarray, problem: ConvProblem) -> np.ndarray:
    """int8 [C, 1, R, S] to [C/16, R, patterns, 64]: the four weights of a channel lie side by side."""
    return pack_patterns(weight, *(tap for taps in Cover(problem).patterns for tap in taps))


@packing
def pack_patterns(weight: np.ndarray, *taps: int) -> np.ndarray:
    """`pack_taps` for patterns of four taps each, one after another."""
    channels, _, rows, _ = weight.shape
    padded = np.pad(weight[:, 0], ((0, -channels % _LANES), (0, 0), (0, 1)))  # the tap -1 is 0
    picked = padded[:, :, np.array(taps).reshape(-1, QUAD)]  # [C, R, patterns, 4]
    blocks = picked.reshape(-1, _LANES, rows, picked.shape[2], QUAD).transpose(0, 2, 3, 1, 4)
    return np.ascontiguousarray(blocks.reshape(*blocks.shape[:3], _LANES * QUAD))


def depthwise_int8(
    problem: ConvProblem,
    isa: Isa,
    x_layout: Layout,
    out_layout: Layout,
    residual_layout: Layout | None = None,
    clear_losers: bool = True,
):
    """The kernel, with arguments as in `problem.spec.roles` (constants packed) and the output last.

    The weight is packed by `pack_taps` where `can_permute`, else as for `depthwise_blocked`. Layouts as there.
    """
    kind = _PermutedPixels if can_permute(problem, isa) else _WidenedBytes
    return kind(problem, isa, x_layout, out_layout, residual_layout, clear_losers).build()


class _WidenedBytes(Quantized, DepthwiseConvolution):
    """One product of 32 bits for each pixel and kernel position."""

    def weight(self, block, r, s, lane):
        return T.cast(super().weight(block, r, s, lane), f"int32x{self.lanes}")


class _PermutedPixels(Quantized, DirectConvolution):
    def __init__(self, problem, isa, x_layout, out_layout, residual_layout, clear_losers):
        super().__init__(problem, isa, x_layout, out_layout, residual_layout, clear_losers)
        self.lanes, self.row_size, self.cover = _LANES, min(_ROWS, problem.out_shape[2]), Cover(problem)

    def weight_shape(self) -> tuple[int, ...]:
        blocks = -(-self.problem.channels_out // _LANES)
        return (blocks, self.problem.kernel[0], len(self.cover.patterns), _LANES * QUAD)

    def channel_tiles(self) -> int:
        return -(-self.problem.computed_out // _LANES)

    def compute_rows(self, n, channel_tile, first_row, height: int) -> None:
        block, cover = T.bind(self.computed_block(n, channel_tile)), self.cover

        def compute(first, group: Group, origin) -> None:
            self.group, self.origin, self.first_row = group, origin, first_row
            pixels = [(first_row + h, first + w) for h in range(height) for w in range(group.columns)]
            self.compute_tile(n, [block], pixels, group.columns)

        if cover.count:
            with T.serial(cover.count) as step:
                first = T.bind(step * cover.regular.columns)
                compute(first, cover.regular, T.bind(self.problem.column(first, 0)))
        for first, group in cover.last:
            compute(first, group, 0)
        self.clear_margins(n, block, first_row, height)

    def reduce(self, total, n, blocks: list, pixels: list) -> None:
        """Each input row once: loaded, permuted, and multiplied for every output row that it meets."""
        spec, kernel_rows = self.problem.spec, self.problem.kernel[0]
        stride, dilation = spec.strides[0], spec.dilation[0]
        height = len(pixels) // self.group.columns
        first_row = T.bind(self.problem.row(self.first_row, 0))
        order = T.bind(tirx.reinterpret("int8x64", _order()))
        for row in range((height - 1) * stride + (kernel_rows - 1) * dilation + 1):
            met = [(h, r) for h in range(height) for r in range(kernel_rows) if h * stride + r * dilation == row]
            for start, served in self.group.vectors if met else []:
                value = T.bind(self._permuted(n, blocks[0], first_row + row, self.origin + start, order))
                for h, r in met:
                    for column, taps in served:
                        number = h * self.group.columns + column
                        weight = self._weight(blocks[0], r, taps)
                        total[number] = dot_quads(self.isa, total[number], value, weight)

    def _weight(self, block, r: int, taps: Taps):
        lanes = lanes_from(0, _LANES * QUAD)
        return tirx.reinterpret("int32x16", self.given["weight"][block, r, self.cover.patterns.index(taps), lanes])

    def _permuted(self, n, block, row, column, order):
        """int32x16: the four pixels from this one on, of each channel."""
        place = self.x_layout.index(n, block, row, column, lanes_from(0, _LANES * QUAD))
        pixels = tirx.reinterpret("int8x64", self.given["x"][tuple(place)])
        return tirx.reinterpret("int32x16", T.call_llvm_pure_intrin("int8x64", _PERMUTE, pixels, order))


def _order():
    """int32x16: byte 4 c + p of the result is byte 16 p + c, channel c of pixel p."""
    first = T.int32(sum(_LANES * p << 8 * p for p in range(QUAD)))
    return T.ramp(first, 0x01010101, _LANES)
