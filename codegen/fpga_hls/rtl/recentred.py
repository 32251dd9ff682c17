"""Which stages multiply recentralised shifts by shifts, and what their multiply_focused.sv is filled with."""

from __future__ import annotations

import numpy as np

from ..stages import Convolution
from ..weight_codes import COMPONENT, NO_SHIFT, SIGN, codes, exponents

STORED_BITS = 4
"""Of a code: two of the exponent, the sign, the component."""

LARGEST_EXPONENT = 2
"""Three shifts of an input bit, the choice among them and the sign are the six inputs of a LUT."""

CYCLES = 5
"""More than multiply_accumulate takes: the parts of a sum wait, are multiplied, and added in three levels."""

PRODUCT_LUTS, SUM_LUTS, LANE_LUTS = 34, 120, 90
"""What a product saves against one in `multiply_lut`, and what four sums in the place of one, and their constants, cost
more: by Yosys' counts (0.23, synth_xilinx -family xc7) of both modules with 8, 9 and 36 products.
"""


def is_recentred(stage: Convolution) -> bool:
    """Whether shifts take fewer LUTs than to multiply the s8 levels; both give the same numbers."""
    if stage.products.kind != "focused":
        return False
    more = SUM_LUTS * stage.folding.pe + LANE_LUTS * stage.out_lanes
    return PRODUCT_LUTS * stage.products_per_cycle > more and _top(stage) <= LARGEST_EXPONENT


def stored_codes(stage: Convolution) -> np.ndarray:
    """int8, shaped as the weights: as `weight_codes.codes`, with exponents of two bits."""
    found = codes(stage)
    return found & 3 | found >> 1 & 12


def part_bits(stage: Convolution) -> int:
    """Of an input and a shifted input, with their signs, for each of two components."""
    return 2 * (9 + 9 + _top(stage))


def missing(stage: Convolution) -> np.ndarray:
    """What each sum lacks, int64 [C_out]: a step for each negative weight, whose bits are inverted and no more."""
    found = codes(stage).reshape(len(stage.weights), -1)
    negative = (found & SIGN != 0) & (found % SIGN != NO_SHIFT)
    steps = np.array([step for _, step in stage.products.components])
    return (negative * steps[found // COMPONENT]).sum(1, dtype=np.int64)


def parameters(stage: Convolution) -> dict[str, int]:
    """Of multiply_focused: widths that hold the sums of a component, the largest exponent, the constants."""
    found = codes(stage).reshape(len(stage.weights), -1).astype(np.int64)
    shift, component = found % SIGN, found // COMPONENT
    centres = (found != (NO_SHIFT | SIGN)) * 255
    shifted = np.where(shift == NO_SHIFT, 0, (255 << shift) + 1)
    (mean_0, step_0), (mean_1, step_1) = (*stage.products.components, (0, 0))[:2]
    return {
        "CENTRE_BITS": _bits(centres, component),
        "SHIFTED_BITS": _bits(shifted, component),
        "TOP": _top(stage),
        "MEAN_0": mean_0,
        "STEP_0": step_0,
        "MEAN_1": mean_1,
        "STEP_1": step_1,
    }


def _bits(sizes: np.ndarray, component: np.ndarray) -> int:
    """Of two's complement for the sums of one component; sizes, component: of each product, [C_out, products]."""
    most = max((sizes * (component == number)).sum(1).max() for number in range(2))
    return int(most).bit_length() + 1


def _top(stage: Convolution) -> int:
    """The largest exponent of its weights."""
    return max(exponents(stage), default=0)
