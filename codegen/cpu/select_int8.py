"""Which kernel families can compute a convolution of bytes, and in how many cycles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from espalier.targets.cpu import Isa

from .family import Family
from .kernels import conv2d_blocked as blocked
from .kernels import conv2d_int8 as quads
from .kernels import conv2d_planar as planar
from .kernels.int8 import QUAD
from .kernels.problem import ConvProblem
from .kernels.requantize import packed_constants


def candidates(problem: ConvProblem, isa: Isa) -> list[Family]:
    """As `select.candidates`, for a problem with the spec of `as_kernels_take_it`."""
    return [_planar(problem, isa)] if problem.spec.groups > 1 else [_quads(problem, isa)]


def _quads(problem: ConvProblem, isa: Isa) -> Family:
    return Family(
        "int8",
        blocked.predicted_cycles(problem, isa, QUAD),
        (isa.lanes if problem.channels_in >= isa.lanes else QUAD,),
        isa.lanes,
        _packing(problem, lambda weight, block: quads.pack_quads(weight, isa.lanes, block), isa.lanes),
        problem.spec,
        lambda *layouts: quads.conv2d_int8(problem, isa, *layouts),
    )


def _planar(problem: ConvProblem, isa: Isa) -> Family:
    unit = planar.weight_unit(problem, planar.choose_planar_tile(problem, isa))
    return Family(
        "planar_int8",
        planar.predicted_cycles(problem, isa),
        (1,),
        1,
        _packing(problem, lambda weight, _block: planar.pack_planar_weight(weight, unit), 1),
        problem.spec,
        lambda *layouts: quads.conv2d_planar_int8(problem, isa, *layouts),
    )


def _packing(problem: ConvProblem, pack_weight: Callable, lanes: int) -> Callable:
    def pack(constants: dict[str, np.ndarray], block: int) -> dict[str, np.ndarray]:
        others = packed_constants(problem.spec, constants, lanes, problem.rounding)
        return {"weight": pack_weight(constants["weight"], block), **others}

    return pack
