"""Formats whose levels are the same for every layer: uniform and shift. Only the scales are fitted."""

from __future__ import annotations

from espalier.core.formats import Shift, Uniform
from espalier.core.quantized_weights import QuantizedWeights

from .problem import Problem
from .scales import search_scales


def fit_given_levels(problem: Problem, fmt: Uniform | Shift, width_bits: int) -> QuantizedWeights:
    """The scale of each channel by its error: for uniform how much to clip, for shift the bias too.

    The focused-quantization paper gives shift values s * 2^(e - b) a bias b and a learnt factor alpha for each layer;
    the scale of a channel is alpha * 2^-b, any positive number, as requantization multiplies by one in any case.
    """
    levels = fmt.levels(width_bits)
    return problem.quantized(fmt, levels, problem.absolute(search_scales(problem, levels)))
