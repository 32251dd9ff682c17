"""Binary weights: a sign and a scale.

Source: Rastegari et al., XNOR-Net, ECCV 2016, section 3.1: the mean magnitude is the least-squares scale of signs.
"""

from __future__ import annotations

import numpy as np

from espalier.core.errors import InvalidInputError
from espalier.core.formats import Binary
from espalier.core.quantized_weights import QuantizedWeights

from .problem import Problem


def fit_binary(problem: Problem, fmt: Binary, width_bits: int) -> QuantizedWeights:
    """The sign of each weight, 1 for 0, times the mean magnitude of its channel, weighted by importance.

    Raises InvalidInputError for a mask that prunes and for a channel of zeros: there is no code for 0.
    """
    zero = np.flatnonzero(~problem.rows.any(axis=1))
    if problem.is_pruned or zero.size:
        what = "pruned weights" if problem.is_pruned else f"channel {zero[0]} with zeros only"
        raise InvalidInputError(f"binary: got {what}, which it has no code for; accepted is a format with a zero")
    scale = np.average(np.abs(problem.rows), axis=1, weights=problem.importance)
    return problem.quantized(fmt, fmt.levels(width_bits), problem.absolute(scale))
