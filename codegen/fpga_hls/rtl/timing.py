"""How the SystemVerilog of a stage behaves in time: its pipelines' lengths, and the buffers that keep them full."""

from __future__ import annotations

from ..ports import lanes_in
from ..stages import Convolution, Gate, MaxPool
from ..windows import windows_of
from . import recentred

READ, MULTIPLY, ACCUMULATE, WAIT = 6, 2, 1, 1
"""Cycles from a count of window_reader to its x_data, of a product, of the addition to the sum, of the hand-over."""

REQUANTIZE, WITH_RESIDUAL, WITH_PI, RAW = 10, 18, 12, 4
"""Cycles from the first beat of a group in `requantize` to its result."""

SHALLOW = 64
"""Words of the deepest FIFO that is kept in LUTs, see stream_fifo.sv."""

FIFO = 1
"""Cycles from a word's write to where it can be read, in such a FIFO; a deeper one's memory has a register."""

SEVERAL_PIXELS = 1
"""Cycles in which the sums of several pixels are corrected, see convolution.sv."""

TAKE = 9
"""Cycles from where `requantize` takes a beat of the residual to that beat's result."""

QUEUE = 16
"""Results that find room in `result_queue`."""

MEAN_END, SCORE_END, RANK_END = 9, 7, 3
"""Cycles in which the pipelines of `channel_gate` end after their last word, and one to begin."""

WINNERS_LATENCY, PI_LATENCY = 2 + FIFO, 10 + FIFO
"""Cycles from a winner that is given to its number, and to its factor, at the outputs."""

GIVE_BACK = 8
"""Beats that can pass before a row that was given back can be written again, and more than that."""


def fifo_latency(depth: int) -> int:
    """Cycles from a word's write to where it can be read."""
    return FIFO if depth <= SHALLOW else FIFO + 1


def latency(stage: Convolution | MaxPool) -> int:
    """Cycles from the last count of a group to its first beat at the output."""
    return _pipeline(stage) + fifo_latency(result_depth(stage))


def cycles_to_take(stage: Convolution) -> int:
    """Cycles from the last count of a group to where it takes its first beat of the residual."""
    return _pipeline(stage) - TAKE


def _pipeline(stage: Convolution | MaxPool) -> int:
    """Cycles from the last count of a group to its first result, which goes into the FIFO of results."""
    if isinstance(stage, MaxPool):
        return READ + 2
    terms = stage.folding.taps * (1 if stage.is_depthwise else stage.folding.simd)
    more = recentred.CYCLES if recentred.is_recentred(stage) else SEVERAL_PIXELS if stage.pixels > 1 else 0
    return READ + MULTIPLY + (terms - 1).bit_length() + ACCUMULATE + more + WAIT + _ending(stage)


def _ending(stage: Convolution) -> int:
    if stage.multiplier is None:
        return RAW
    return WITH_RESIDUAL if stage.arithmetic.residual else WITH_PI if stage.has_pi else REQUANTIZE


def cycles_to_give(stage: Gate) -> int:
    """From the cycle in which a gate has a frame's sums and list to the first one in which it gives a winner."""
    means, products, ranks = stage.in_shape[2], stage.in_shape[2] * stage.winners.channels, stage.groups**2
    return means + products + ranks + MEAN_END + SCORE_END + RANK_END


def cycles_after_scores(stage: Gate) -> int:
    """The part of `cycles_to_give` after the cycle in which its input's list is done with."""
    return stage.groups**2 + RANK_END + 1


def cycles_of_giving(stage: Gate) -> int:
    """From the first winner that a gate gives to the first beat of the next frame that it reads."""
    return stage.winners.count * (stage.winners.granularity if stage.has_pi else 1)


def gate_cycles(stage: Gate) -> int:
    """Cycles between frames in which a gate reads nothing."""
    return cycles_to_give(stage) + cycles_of_giving(stage)


def result_depth(stage: Convolution | MaxPool) -> int:
    """Beats of the FIFO of results, so that a stage whose results are taken at once never waits for room."""
    cycles, beats = 1, 1
    if isinstance(stage, Convolution):
        cycles, beats = stage.cycles_per_group, stage.sums_per_group // stage.out_lanes
    groups = -(-(cycles + _pipeline(stage) + FIFO + beats) // cycles) + 1
    return max(16, 1 << (groups * beats - 1).bit_length())


def words_of_tap(stage: Convolution | MaxPool) -> int:
    """Beats of a pixel; 1 where a beat has several."""
    return 1 if stage.pixels > 1 else stage.in_shape[2] // lanes_in(stage, "x")


def line_buffer_rows(stage: Convolution | MaxPool) -> int:
    """Rows of the ring: KH + stride, and more where the next rows could not come in within a row's time."""
    windows, words = windows_of(stage), words_of_tap(stage)
    row_beats = windows.width * words
    cycles = stage.groups * stage.cycles_per_group if isinstance(stage, Convolution) else words
    row_cycles = windows.columns * cycles
    rows = stage.kernel[0] + stage.stride[0]
    spare = row_cycles >= stage.stride[0] * row_beats + GIVE_BACK
    return rows if spare else rows + -(-GIVE_BACK // row_beats)
