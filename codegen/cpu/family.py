"""A way to compute a convolution, as the selection and the lowering see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from espalier.core.layers import Conv2dSpec


@dataclass(frozen=True)
class Family:
    """A kernel family at one layer.

    tile: how the work is cut, of the family's own type; None where it can be cut in one way only.
    cycles: predicted, of one core. x_blocks: channel blocks in which it can read its input, the preferred one first.
    out_block: of its output and residual. pack: the layer's constants by role as the kernel wants them, given the
    block of x. spec: the layer with the kernel's arguments.
    build(x_layout, out_layout, residual_layout, clear_losers) returns the PrimFunc.
    error_growth: rounding errors as a multiple of those of direct sums.
    """

    name: str
    tile: object
    cycles: float
    x_blocks: tuple[int, ...]
    out_block: int
    pack: Callable[[dict[str, np.ndarray], int], dict[str, np.ndarray]]
    spec: Conv2dSpec
    build: Callable
    error_growth: float = 1.0
