"""Which kernel families can compute a convolution of bytes, and in how many cycles; tiles as in `select`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from espalier.targets.cpu import Isa

from .family import Family
from .kernels import conv2d_amx as amx
from .kernels import conv2d_blocked as blocked
from .kernels import conv2d_int8 as quads
from .kernels import conv2d_planar as planar
from .kernels import depthwise_int8 as depthwise
from .kernels.depthwise_blocked import pack_depthwise_weight
from .kernels.int8 import QUAD
from .kernels.problem import ConvProblem
from .kernels.requantize import packed_constants


def candidates(problem: ConvProblem, isa: Isa) -> list[Family]:
    """As `select.candidates`, for a problem with the spec of `as_kernels_take_it`."""
    if problem.is_depthwise and problem.channels_in >= isa.lanes:
        return [depthwise_family(problem, isa), planar_family(problem, isa)]
    if problem.spec.groups > 1:
        return [planar_family(problem, isa)]
    families = [quads_family(problem, isa)]
    if amx.can_multiply_tiles(problem, isa):
        families.append(amx_family(problem, isa))
    return sorted(families, key=lambda family: family.cycles)


def quads_family(problem: ConvProblem, isa: Isa, tile: blocked.Tile | None = None) -> Family:
    """Direct sums of four channels at a step, vectorised over output channels."""
    tile = tile or blocked.choose_tile(problem, isa, QUAD)
    return Family(
        "int8",
        tile,
        blocked.predicted_cycles(problem, isa, tile, QUAD),
        (isa.lanes if problem.channels_in >= isa.lanes else QUAD,),
        isa.lanes,
        _packing(problem, lambda weight, block: quads.pack_quads(weight, isa.lanes, block), isa.lanes),
        problem.spec,
        lambda *layouts: quads.conv2d_int8(problem, isa, *layouts, tile),
    )


def amx_family(problem: ConvProblem, isa: Isa, band: amx.Band | None = None) -> Family:
    """Products of tiles, of which the rows are pixels and output channels."""
    band = band or amx.choose_band(problem, isa)
    return Family(
        "amx_int8",
        band,
        amx.predicted_cycles(problem, isa, band),
        (isa.lanes,),
        isa.lanes,
        _packing(problem, lambda weight, _block: amx.pack_tiles(weight, problem), isa.lanes),
        problem.spec,
        lambda *layouts: amx.conv2d_amx(problem, isa, *layouts, band),
    )


def depthwise_family(problem: ConvProblem, isa: Isa, _tile: None = None) -> Family:
    """A depthwise convolution, vectorised over channels; it has one tile only."""
    permutes = depthwise.can_permute(problem, isa)

    def pack_weight(weight: np.ndarray, _block: int) -> np.ndarray:
        return depthwise.pack_taps(weight, problem) if permutes else pack_depthwise_weight(weight, isa.lanes)

    return Family(
        "depthwise_int8",
        None,
        problem.macs / (2 * isa.lanes if permutes else isa.lanes),
        (isa.lanes,),
        isa.lanes,
        _packing(problem, pack_weight, isa.lanes),
        problem.spec,
        lambda *layouts: depthwise.depthwise_int8(problem, isa, *layouts),
    )


def planar_family(problem: ConvProblem, isa: Isa, tile: planar.PlanarTile | None = None) -> Family:
    """Direct sums, vectorised over pixels."""
    tile = tile or planar.choose_planar_tile(problem, isa)
    unit = planar.weight_unit(problem, tile)
    return Family(
        "planar_int8",
        tile,
        planar.predicted_cycles(problem, isa, tile),
        (1,),
        1,
        _packing(problem, lambda weight, _block: planar.pack_planar_weight(weight, unit), 1),
        problem.spec,
        lambda *layouts: quads.conv2d_planar_int8(problem, isa, *layouts, tile),
    )


def _packing(problem: ConvProblem, pack_weight: Callable, lanes: int) -> Callable:
    def pack(constants: dict[str, np.ndarray], block: int) -> dict[str, np.ndarray]:
        others = packed_constants(problem.spec, constants, lanes, problem.rounding)
        return {"weight": pack_weight(constants["weight"], block), **others}

    return pack
