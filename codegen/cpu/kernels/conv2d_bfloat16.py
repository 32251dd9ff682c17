"""Direct convolution of bfloat16 values: pairs of input channels at a step.

As `conv2d_blocked`, but the broadcast value is a pair of neighbouring channels and the weights come in pairs too:
the processor multiplies both and adds both products to a float32 sum. x lies in blocks of an even number of channels.
Source: Intel SDM volume 2, VDPBF16PS.
"""

from __future__ import annotations

import numpy as np
from tvm import tirx

from espalier.targets.cpu import Isa

from ..layout import Layout
from ..packing import packing
from .bfloat16 import PAIR, dot, pairs_of, with_dot
from .conv2d_blocked import BlockedConvolution, Tile, blocks_of, weight_block
from .emit import lanes_from
from .problem import ConvProblem


def conv2d_bfloat16(
    problem: ConvProblem,
    isa: Isa,
    x_layout: Layout,
    out_layout: Layout,
    residual_layout: Layout | None = None,
    clear_losers: bool = True,
    tile: Tile | None = None,
):
    """The kernel, with arguments as in `problem.spec.roles` (weight and bias packed) and the output last.

    x_layout: bfloat16 in blocks of 2 or isa.lanes; out_layout and residual_layout: block isa.lanes, of either type.
    clear_losers: write zeros to the channel blocks that lose; not needed when every reader uses the list.
    """
    return _PairsConvolution(problem, isa, x_layout, out_layout, residual_layout, clear_losers, tile).build()


@packing
def pack_pairs(weight: np.ndarray, lanes: int, x_block: int) -> np.ndarray:
    """[C_out, C_in, R, S] to int32 [C_out/lanes, C_in/b, R, S, b/2, lanes], pairs of bfloat16; b by `weight_block`."""
    packed = blocks_of(weight, lanes, weight_block(weight.shape[1], x_block, PAIR)).astype("float32")
    paired = packed.reshape(*packed.shape[:-2], -1, PAIR, lanes)
    return pairs_of(np.moveaxis(paired, -2, -1))


class _PairsConvolution(BlockedConvolution):
    weight_element, together = "int32", PAIR

    def weight_shape(self) -> tuple[int, ...]:
        *outer, channels, lanes = super().weight_shape()
        return (*outer, channels // PAIR, lanes)

    def value(self, n, x_block, row, column, step):
        place = self.x_layout.index(n, x_block, row, column, lanes_from(step * PAIR, PAIR))
        return tirx.reinterpret("int32", self.given["x"][tuple(place)])

    def with_product(self, total, value, weight):
        return dot(total, value, weight)

    def _body(self, *buffers) -> None:
        with_dot(super()._body)(*buffers)
