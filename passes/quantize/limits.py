"""An activation as the numbers between which an output lies."""

from __future__ import annotations

from espalier.core.layers import Activation

from .scales import Numbers


def limits(activation: Activation, y: Numbers) -> tuple[int, int]:
    """(low, high) of a layer whose output has the numbers y."""
    if activation.kind == "relu":
        return y.zero, y.top
    if activation.kind == "clip":
        return y.of(activation.low), y.of(activation.high)
    return 0, y.top
