"""Which kernel family computes a convolution: predicted cycles decide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from espalier.targets.cpu import Isa

from .kernels import conv2d_bfloat16 as bfloat16
from .kernels import conv2d_blocked as blocked
from .kernels import conv2d_planar as planar
from .kernels.bfloat16 import PAIR, multiplies_pairs
from .kernels.depthwise_blocked import depthwise_blocked, pack_depthwise_weight
from .kernels.lists import whole_blocks
from .kernels.problem import ConvProblem


@dataclass(frozen=True)
class Family:
    """A way to compute a convolution.

    x_blocks: channel blocks in which it can read its input, the preferred one first. out_block: of its
    output and residual. pack_weight, pack_bias: constants as the kernel wants them, given the block of x.
    build(x_layout, out_layout, residual_layout, clear_losers) returns the PrimFunc.
    """

    name: str
    x_blocks: tuple[int, ...]
    out_block: int
    pack_weight: Callable[[np.ndarray, int], np.ndarray]
    pack_bias: Callable[[np.ndarray], np.ndarray]
    build: Callable


def choose_family(problem: ConvProblem, isa: Isa) -> Family:
    """The family with the fewest predicted cycles among those that can compute the problem."""
    return candidates(problem, isa)[0]


def candidates(problem: ConvProblem, isa: Isa) -> list[Family]:
    """Every family that can compute the problem, the one with the fewest predicted cycles first."""
    has_residual = "residual" in problem.spec.roles
    if problem.is_depthwise and not has_residual and _fits_blocks(problem, isa) and problem.channels_in >= isa.lanes:
        return [_depthwise(problem, isa), _planar(problem, isa)]
    if problem.spec.groups > 1 or not _fits_blocks(problem, isa):
        return [_planar(problem, isa)]
    pairs = multiplies_pairs(problem.spec, isa)
    both = [_bfloat16(problem, isa) if pairs else _blocked(problem, isa), _planar(problem, isa)]
    if planar.predicted_cycles(problem, isa) < blocked.predicted_cycles(problem, isa, PAIR if pairs else 1):
        both.reverse()
    return both


def _fits_blocks(problem: ConvProblem, isa: Isa) -> bool:
    """Winners are whole blocks, or there are none."""
    return problem.spec.winners is None or problem.spec.winners.granularity % isa.lanes == 0


def _blocked(problem: ConvProblem, isa: Isa) -> Family:
    blocks = (isa.lanes, 1) if problem.channels_in >= isa.lanes else (1,)
    return Family(
        "blocked",
        blocks,
        isa.lanes,
        lambda weight, block: blocked.pack_weight(weight, isa.lanes, block),
        lambda bias: whole_blocks(bias, isa.lanes),
        lambda *layouts: blocked.conv2d_blocked(problem, isa, *layouts),
    )


def _bfloat16(problem: ConvProblem, isa: Isa) -> Family:
    blocks = (isa.lanes,) if problem.channels_in >= isa.lanes else (PAIR,)
    return Family(
        "bfloat16",
        blocks,
        isa.lanes,
        lambda weight, block: bfloat16.pack_pairs(weight, isa.lanes, block),
        lambda bias: whole_blocks(bias, isa.lanes),
        lambda *layouts: bfloat16.conv2d_bfloat16(problem, isa, *layouts),
    )


def _planar(problem: ConvProblem, isa: Isa) -> Family:
    unit = planar.weight_unit(problem, planar.choose_planar_tile(problem, isa))
    return Family(
        "planar",
        (1,),
        1,
        lambda weight, _block: planar.pack_planar_weight(weight, unit),
        lambda bias: bias,
        lambda *layouts: planar.conv2d_planar(problem, isa, *layouts),
    )


def _depthwise(problem: ConvProblem, isa: Isa) -> Family:
    return Family(
        "depthwise",
        (isa.lanes,),
        isa.lanes,
        lambda weight, _block: pack_depthwise_weight(weight, isa.lanes),
        lambda bias: whole_blocks(bias, isa.lanes),
        lambda x_layout, out_layout, _residual, clear: depthwise_blocked(problem, isa, x_layout, out_layout, clear),
    )
