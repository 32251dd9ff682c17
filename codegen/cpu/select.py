"""Which kernel families can compute a convolution, and in how many cycles.

A maker such as `blocked_family` takes the tile that its analytic rule chooses, unless it is given another one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from espalier.targets.cpu import Isa

from . import select_int8
from .family import Family
from .kernels import conv2d_bfloat16 as bfloat16
from .kernels import conv2d_blocked as blocked
from .kernels import conv2d_planar as planar
from .kernels import winograd_tile
from .kernels.bfloat16 import PAIR, multiplies_pairs
from .kernels.cook_toom import ERROR_GROWTH
from .kernels.depthwise_blocked import (
    DepthwiseTile,
    choose_depthwise_tile,
    depthwise_blocked,
    pack_depthwise_weight,
)
from .kernels.lists import whole_blocks
from .kernels.problem import ConvProblem
from .kernels.winograd import conv2d_winograd, pack_winograd_weight


def candidates(problem: ConvProblem, isa: Isa) -> list[Family]:
    """Every family that can compute the problem, the one with the fewest predicted cycles first."""
    if problem.spec.format == "int8":
        return select_int8.candidates(problem, isa)
    if problem.is_depthwise and _fits_blocks(problem, isa) and problem.channels_in >= isa.lanes:
        return [depthwise_family(problem, isa), planar_family(problem, isa)]
    if problem.spec.groups > 1 or not _fits_blocks(problem, isa):
        return [planar_family(problem, isa)]
    pairs = multiplies_pairs(problem.spec, isa)
    families = [(bfloat16_family if pairs else blocked_family)(problem, isa), planar_family(problem, isa)]
    if _suits_winograd(problem, isa):
        families.append(winograd_family(problem, isa))
    return sorted(families, key=lambda family: family.cycles)


def _packing(pack_weight: Callable[[np.ndarray, int], np.ndarray], out_block: int) -> Callable:
    """What `Family.pack` is for a layer of floats."""

    def pack(constants: dict[str, np.ndarray], block: int) -> dict[str, np.ndarray]:
        packed = {role: whole_blocks(array, out_block) for role, array in constants.items() if role == "bias"}
        return {"weight": pack_weight(constants["weight"], block), **packed}

    return pack


def _suits_winograd(problem: ConvProblem, isa: Isa) -> bool:
    """3x3 windows side by side over whole blocks of channels, in a layer that may be computed so."""
    spec = problem.spec
    plain = problem.kernel == (3, 3) and spec.strides == spec.dilation == (1, 1)
    whole = spec.active is None or spec.active.granularity % isa.lanes == 0
    return spec.winograd and plain and whole and problem.channels_in >= isa.lanes


def _fits_blocks(problem: ConvProblem, isa: Isa) -> bool:
    """Winners are whole blocks, or there are none."""
    return problem.spec.winners is None or problem.spec.winners.granularity % isa.lanes == 0


def blocked_family(problem: ConvProblem, isa: Isa, tile: blocked.Tile | None = None) -> Family:
    """Direct sums, vectorised over output channels."""
    tile = tile or blocked.choose_tile(problem, isa)
    blocks = (isa.lanes, 1) if problem.channels_in >= isa.lanes else (1,)
    return Family(
        "blocked",
        tile,
        blocked.predicted_cycles(problem, isa, tile),
        blocks,
        isa.lanes,
        _packing(lambda weight, block: blocked.pack_weight(weight, isa.lanes, block), isa.lanes),
        problem.spec,
        lambda *layouts: blocked.conv2d_blocked(problem, isa, *layouts, tile),
    )


def winograd_family(problem: ConvProblem, isa: Isa, tile: winograd_tile.WinogradTile | None = None) -> Family:
    """Winograd's transforms."""
    tile = tile or winograd_tile.choose_winograd_tile(problem, isa)
    return Family(
        "winograd",
        tile,
        winograd_tile.predicted_cycles(problem, isa, tile),
        (isa.lanes,),
        isa.lanes,
        _packing(lambda weight, _block: pack_winograd_weight(weight, isa.lanes, tile.outputs), isa.lanes),
        problem.spec,
        lambda *layouts: conv2d_winograd(problem, isa, *layouts, tile),
        ERROR_GROWTH[tile.outputs],
    )


def bfloat16_family(problem: ConvProblem, isa: Isa, tile: blocked.Tile | None = None) -> Family:
    """Direct sums of bfloat16 pairs."""
    tile = tile or blocked.choose_tile(problem, isa, PAIR)
    blocks = (isa.lanes,) if problem.channels_in >= isa.lanes else (PAIR,)
    return Family(
        "bfloat16",
        tile,
        blocked.predicted_cycles(problem, isa, tile, PAIR),
        blocks,
        isa.lanes,
        _packing(lambda weight, block: bfloat16.pack_pairs(weight, isa.lanes, block), isa.lanes),
        problem.spec,
        lambda *layouts: bfloat16.conv2d_bfloat16(problem, isa, *layouts, tile),
    )


def planar_family(problem: ConvProblem, isa: Isa, tile: planar.PlanarTile | None = None) -> Family:
    """Direct sums, vectorised over pixels."""
    tile = tile or planar.choose_planar_tile(problem, isa)
    unit = planar.weight_unit(problem, tile)
    return Family(
        "planar",
        tile,
        planar.predicted_cycles(problem, isa, tile),
        (1,),
        1,
        _packing(lambda weight, _block: planar.pack_planar_weight(weight, unit), 1),
        problem.spec,
        lambda *layouts: planar.conv2d_planar(problem, isa, *layouts, tile),
    )


def depthwise_family(problem: ConvProblem, isa: Isa, tile: DepthwiseTile | None = None) -> Family:
    """A depthwise convolution, vectorised over channels; its predicted cycles are the same for every tile."""
    tile = tile or choose_depthwise_tile(problem, isa)
    return Family(
        "depthwise",
        tile,
        problem.macs / isa.lanes,
        (isa.lanes,),
        isa.lanes,
        _packing(lambda weight, _block: pack_depthwise_weight(weight, isa.lanes), isa.lanes),
        problem.spec,
        lambda *layouts: depthwise_blocked(problem, isa, *layouts, tile),
    )
