"""Cycles of stages: exact for the emitted SystemVerilog, where FIFOs are as deep as `fifo_depths` makes them."""

from __future__ import annotations

import math

from ..graph import StreamGraph
from ..ports import lanes_in, lanes_out
from ..rtl.timing import gate_cycles
from ..stages import Convolution, Gate, Stage


def interval_cycles(stage: Stage) -> int:
    """Cycles between one frame and the next if a stage neither starves nor is blocked.

    Whatever takes most of them: products, or the beats of a stream. A gate reads, and predicts after that.
    """
    if isinstance(stage, Gate):
        return in_beats(stage) + gate_cycles(stage)
    beats = [in_beats(stage), math.prod(stage.out_shape) // lanes_out(stage)]
    if isinstance(stage, Convolution):
        beats.append(stage.compute_cycles)
    return max(beats)


def in_beats(stage: Stage) -> int:
    """Of a frame, at the port "x"."""
    return math.prod(stage.in_shape) // lanes_in(stage, "x")


def graph_interval_cycles(graph: StreamGraph) -> int:
    """Cycles between frames of a whole graph: those of its slowest stage."""
    return max(map(interval_cycles, graph.stages))
