"""Codebooks: integer levels and channel scales, alternately.

Each step lowers the squared error: the levels are the best there are for the scales (`levels_of_cells`), then the
scales the least-squares ones for the levels.
"""

from __future__ import annotations

import numpy as np

from espalier.core.formats import Codebook, Uniform
from espalier.core.quantized_weights import QuantizedWeights

from .levels_of_cells import best_levels, cell_moments, widened
from .problem import Problem
from .scales import refine_scales, search_scales

WIDENINGS = (1, 2, 4)
"""Starts, as multiples of the scale that uniform levels of as many bits take: wider ones reach outliers."""
ROUNDS = 8
LEAST_GAIN = 1e-3


def fit_codebook(problem: Problem, fmt: Codebook, width_bits: int) -> QuantizedWeights:
    """Until the error falls by less than a thousandth, from the scales of uniform<bits> or from a multiple of them.

    The levels of uniform<bits> are one choice of 2^bits integers: its error is not less than that of the codebook.
    """
    narrow = Uniform(fmt.bits).levels(width_bits)
    scale = search_scales(problem, narrow)
    if fmt.bits == width_bits:
        return problem.quantized(fmt, narrow, problem.absolute(scale))
    error, levels, scale = _best_start(problem, scale / np.float32(2 ** (width_bits - fmt.bits)), fmt, width_bits)
    for _ in range(ROUNDS):
        refined = refine_scales(problem, levels, scale, times=1)
        lower, better = best_levels(cell_moments(problem, refined, width_bits), 2**fmt.bits, problem.energy)
        if lower >= (1 - LEAST_GAIN) * error:
            break
        error, levels, scale = lower, better, refined
    return problem.quantized(fmt, levels, problem.absolute(scale))


def _best_start(problem: Problem, scale: np.ndarray, fmt: Codebook, width_bits: int):
    """Error, levels and scale of the best start."""
    widest = cell_moments(problem, scale, width_bits, WIDENINGS[-1])
    starts = []
    for times in WIDENINGS:
        error, levels = best_levels(widened(widest, times, width_bits), 2**fmt.bits, problem.energy)
        starts.append((error, levels, scale * np.float32(times)))
    return min(starts, key=lambda start: start[0])
