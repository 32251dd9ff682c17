"""What a stage's ports carry: shapes, numbers of a beat, bits of a number."""

from __future__ import annotations

from .stages import Adapter, Convolution, Fork, Gate, MaxPool, Shape, Stage

LISTS = ("active", "winners")
"""Ports that take the numbers of groups of channels, once for each frame."""

NUMBER_BITS = 16
"""Of the number of a group of channels in a list."""


def in_shape(stage: Stage, port: str) -> Shape:
    """Of the tensor that comes by a port."""
    if port in LISTS:
        return (1, 1, getattr(stage, port).count)
    if port == "pi":
        return (1, 1, stage.winners.kept)
    return stage.out_shape if port == "residual" else stage.in_shape


def out_shape(stage: Stage, port: str) -> Shape:
    """Of the tensor that leaves by a port."""
    return (1, 1, stage.winners.kept) if port == "pi" else stage.out_shape


def lanes_in(stage: Stage, port: str) -> int:
    """Numbers of a beat of the stream that comes by a port."""
    if port in LISTS:
        return 1
    if isinstance(stage, Convolution):
        return {"residual": stage.out_lanes, "pi": stage.folding.pe}.get(port, stage.in_lanes)
    return stage.in_lanes if isinstance(stage, Adapter) else stage.lanes


def lanes_out(stage: Stage, port: str = "y") -> int:
    """Numbers of a beat of what leaves by a port."""
    if isinstance(stage, Gate):
        return 1
    return stage.out_lanes if isinstance(stage, Convolution | Adapter | MaxPool) else stage.lanes


def bits_in(stage: Stage, port: str = "x") -> int:
    """Of a number that comes by a port."""
    if port in LISTS:
        return NUMBER_BITS
    return stage.bits if isinstance(stage, Fork | Adapter) else 8


def bits_out(stage: Stage, port: str = "y") -> int:
    """Of a number that leaves by a port."""
    if isinstance(stage, Convolution):
        return stage.out_bits
    if isinstance(stage, Gate):
        return NUMBER_BITS if port == "winners" else 8
    return bits_in(stage)
