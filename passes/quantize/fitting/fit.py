"""The one entry to fitting: weights and a format to codes, levels and scales."""

from __future__ import annotations

import numpy as np

from espalier.core.errors import InvalidPlanError
from espalier.core.formats import WIDTH_BITS, Binary, Codebook, Fixed, Focused, Format, Shift, Uniform
from espalier.core.quantized_weights import QuantizedWeights

from .binary import fit_binary
from .codebook import fit_codebook
from .fixed import fit_fixed
from .focused import fit_focused
from .given_levels import fit_given_levels
from .problem import Problem

METHODS = {
    Fixed: fit_fixed,
    Uniform: fit_given_levels,
    Shift: fit_given_levels,
    Codebook: fit_codebook,
    Binary: fit_binary,
}


def fit(
    weight: np.ndarray,
    fmt: Format,
    width_bits: int = WIDTH_BITS,
    mask: np.ndarray | None = None,
    importance: np.ndarray | None = None,
    random: np.random.Generator | None = None,
) -> QuantizedWeights:
    """The codes of a format that are nearest to the weights of a layer, in the sense of the method of that format.

    weight: float32 [C_out, ...], finite.
    width_bits: of the kernels' integers, which every level fits; at most 8.
    mask: bool, shaped as the weight; where it is False the weight becomes exactly 0.
    importance: what the squared error of each weight counts, at least 0; anything that broadcasts to the weight's
        shape, such as the second moments of the input's channels, [1, C_in, 1, 1].
    random: draws the components of a focused format; None takes the likelier one. No other format uses it.

    The same arguments give the same codes. Raises InvalidInputError for arrays that do not fit, and where fixed or
    binary cannot represent the weights; InvalidPlanError for a format without codes or whose levels are too wide.
    """
    if width_bits not in range(2, WIDTH_BITS + 1):
        raise InvalidPlanError(f"width: got {width_bits!r} bits, accepted are 2..{WIDTH_BITS}")
    if not fmt.is_quantized:
        raise InvalidPlanError(f"{fmt}: is not quantized, accepted are formats with integer levels")
    fmt.levels(width_bits)
    problem = Problem.of(weight, mask, importance)
    if isinstance(fmt, Focused):
        return fit_focused(problem, fmt, width_bits, random)
    return METHODS[type(fmt)](problem, fmt, width_bits)
