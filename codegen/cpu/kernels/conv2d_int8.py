"""Direct convolution of unsigned bytes with signed ones: four input channels at a step.

As `conv2d_blocked`, but the broadcast value is four neighbouring channels and the weights come in fours too: the
processor multiplies all and adds the products to an int32 sum. x lies in blocks of a multiple of four channels.
Source: Intel SDM volume 2, VPDPBUSD.
"""

from __future__ import annotations

import numpy as np
from tvm import tirx

from espalier.targets.cpu import Isa

from ..layout import Layout
from ..packing import packing
from .conv2d_blocked import BlockedConvolution, Tile, blocks_of, weight_block
from .conv2d_planar import PlanarConvolution, PlanarTile
from .emit import lanes_from
from .int8 import QUAD, dot_quads
from .problem import ConvProblem
from .quantized import Quantized


def conv2d_int8(
    problem: ConvProblem,
    isa: Isa,
    x_layout: Layout,
    out_layout: Layout,
    residual_layout: Layout | None = None,
    clear_losers: bool = True,
    tile: Tile | None = None,
):
    """The kernel, with arguments as in `problem.spec.roles` (constants packed) and the output last.

    problem: of a spec of `as_kernels_take_it`, and the rounding of `rounding_of`. x_layout: uint8 in
    blocks of 4 or isa.lanes, filled with x's zero point; out_layout and residual_layout: block isa.lanes.
    clear_losers: write what rests to the channel blocks that lose; not needed when every reader uses the list.
    """
    return _QuadsConvolution(problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile).build()


@packing
def pack_quads(weight: np.ndarray, lanes: int, x_block: int) -> np.ndarray:
    """int8 [C_out, C_in, R, S] to [C_out/lanes, C_in/b, R, S, b/4, 4 lanes] for b of `weight_block`, filled with zeros.

    The four weights of a lane lie side by side.
    """
    packed = blocks_of(weight, lanes, weight_block(weight.shape[1], x_block, QUAD))
    quads = packed.reshape(*packed.shape[:-2], -1, QUAD, lanes)
    return np.ascontiguousarray(np.moveaxis(quads, -2, -1).reshape(*quads.shape[:-2], lanes * QUAD))


class _QuadsConvolution(Quantized, BlockedConvolution):
    together = QUAD

    def weight_shape(self) -> tuple[int, ...]:
        *outer, channels, lanes = super().weight_shape()
        return (*outer, channels // QUAD, lanes * QUAD)

    def weight(self, block, x_block, r, s, step):
        quads = self.given["weight"][block, x_block, r, s, step, lanes_from(0, QUAD * self.lanes)]
        return tirx.reinterpret(f"int32x{self.lanes}", quads)

    def value(self, n, x_block, row, column, step):
        place = self.x_layout.index(n, x_block, row, column, lanes_from(step * QUAD, QUAD))
        return tirx.reinterpret("int32", self.given["x"][tuple(place)])

    def with_product(self, total, value, weight):
        return dot_quads(self.isa, total, value, weight)


def conv2d_planar_int8(
    problem: ConvProblem,
    isa: Isa,
    x_layout: Layout,
    out_layout: Layout,
    residual_layout: Layout | None = None,
    clear_losers: bool = True,
    tile: PlanarTile | None = None,
):
    """As `conv2d_int8` for layers that have no quads of channels, such as grouped ones; all blocks are 1.

    The weight is packed as for `conv2d_planar`.
    """
    return _PlanarBytes(problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile).build()


class _PlanarBytes(Quantized, PlanarConvolution):
    def spread_weight(self, weight):
        return super().spread_weight(tirx.Cast("int32", weight))
