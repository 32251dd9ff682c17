"""The choices that folding has for a stage: how much of it is computed in a cycle, and how it multiplies."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from espalier.targets.boards import Board, Resources

from .cost.cycles import interval_cycles
from .cost.resources import resources
from .network import Choice
from .stages import Convolution, Folding, Gate, MaxPool, MeanPool, Products, Stage, folded

LARGEST_WORD_BITS = 1 << 15
"""Of what a stage reads from its weights in a cycle: 4,096 products, as many as a large part can hold for one stage."""


@dataclass(frozen=True)
class Option:
    """A way to compute a stage. weight: parts of the board, added up."""

    interval: int
    cost: Resources
    weight: float
    choice: Choice


Way = list[Option]
"""All choices for a stage that multiply alike."""


class StageOptions:
    """All choices for a stage; those that few designs need are found when they are asked for.

    one_pixel: with one pixel in a beat at most, by the way to multiply, the one that is made first before the others.
    """

    def __init__(self, stage: Stage, board: Board):
        self.stage, self.board = stage, board
        self.one_pixel = _table(stage, board, _ways(stage))
        self.least_of_one_pixel = _least(self.one_pixel)

    @cached_property
    def least(self) -> int:
        """The least interval that one of them reaches."""
        return min(self.least_of_one_pixel, _least(self._several_pixels or self.one_pixel))

    def reaches(self, interval: int) -> bool:
        """Whether one of them is so fast."""
        return interval >= self.least_of_one_pixel or interval >= self.least

    def within(self, interval: int) -> list[Way]:
        """As `one_pixel`; of several pixels, if the stage takes them, where one cannot be so fast."""
        return self._several_pixels if self._takes_several(interval) else self.one_pixel

    def in_dsps(self, interval: int) -> list[Way]:
        """As `within`, where weights are multiplied in DSP blocks that are shifts or signs otherwise."""
        return self._several_pixels_in_dsps if self._takes_several(interval) else self._one_pixel_in_dsps

    def _takes_several(self, interval: int) -> bool:
        return interval < self.least_of_one_pixel and bool(self._several_pixels)

    @cached_property
    def _several_pixels(self) -> list[Way]:
        return _table_of_pixels(self.stage, self.board, _ways_of_pixels(self.stage))

    @cached_property
    def _one_pixel_in_dsps(self) -> list[Way]:
        ways = levels_in_dsps(self.stage)
        return _table(self.stage, self.board, ways) if ways else []

    @cached_property
    def _several_pixels_in_dsps(self) -> list[Way]:
        ways = levels_in_dsps(self.stage)
        return _table_of_pixels(self.stage, self.board, ways) if ways else []


def best(way: list[Option], interval: int) -> Option:
    """The cheapest that is fast enough, else the fastest."""
    enough = [one for one in way if one.interval <= interval]
    return min(enough, key=lambda one: one.weight) if enough else min(way, key=lambda one: one.interval)


def _least(table: list[Way]) -> int:
    """The least interval."""
    return min(one.interval for way in table for one in way)


def _table(stage: Stage, board: Board, ways: list[Products]) -> list[Way]:
    """All choices for a stage that take one pixel in a beat, one list for each way to multiply."""
    if not isinstance(stage, Convolution):
        return [[_option(dataclasses.replace(stage, lanes=n), Choice(n), board) for n in _divisors(stage.in_shape[2])]]
    return _foldings(stage, board, list(foldings(stage)), ways)


def _table_of_pixels(stage: Stage, board: Board, ways: list[Products]) -> list[Way]:
    """As `_table`, the choices with several pixels in a beat; none for a stage that takes one."""
    counts = list(pixel_counts(stage))
    if not counts:
        return []
    if not isinstance(stage, Convolution):
        lanes = [pixels * stage.in_shape[2] for pixels in counts]
        return [[_option(dataclasses.replace(stage, lanes=n), Choice(n), board) for n in lanes]]
    found = [folding for pixels in counts for folding in foldings_of_pixels(stage, pixels)]
    return _foldings(stage, board, found, ways) if found else []


def _foldings(stage: Convolution, board: Board, found: list[Folding], ways: list[Products]) -> list[Way]:
    return [
        [
            _option(folded(stage, folding, products), Choice(folding=folding, products=products), board)
            for folding in found
        ]
        for products in ways
    ]


def _option(stage: Stage, choice: Choice, board: Board) -> Option:
    cost = resources(stage, board.family)
    return Option(interval_cycles(stage), cost, _weight(cost, board), choice)


def ways_to_multiply(products: Products) -> list[Products]:
    """The ways to multiply by the same weights; DSP blocks first, they are there anyway."""
    return [products, dataclasses.replace(products, kind="lut")] if products.kind == "dsp" else [products]


def levels_in_dsps(stage: Stage) -> list[Products]:
    """The way to multiply shifts, recentralised shifts and signs as the s8 levels that they are, in DSP blocks."""
    if not isinstance(stage, Convolution) or stage.products.kind in ("dsp", "lut"):
        return []
    bits = max((level if level >= 0 else -level - 1).bit_length() for level in stage.levels) + 1
    return [Products("dsp", max(bits, 2))]


def _ways(stage: Stage) -> list[Products]:
    return ways_to_multiply(stage.products) if isinstance(stage, Convolution) else []


def _ways_of_pixels(stage: Stage) -> list[Products]:
    """Levels of recentralised shifts are multiplied where a beat has several pixels."""
    is_focused = isinstance(stage, Convolution) and stage.products.kind == "focused"
    return [Products("lut")] if is_focused else _ways(stage)


def _weight(cost: Resources, board: Board) -> float:
    """Parts of the board, added up."""
    have = board.resources
    return cost.luts / have.luts + cost.dsps / have.dsps + cost.bram_36k / have.bram_36k


def foldings(stage: Convolution) -> Iterator[Folding]:
    """All that its sizes allow."""
    kernel = math.prod(stage.kernel)
    outputs = stage.winners.granularity if stage.winners else stage.out_shape[2]
    inputs = stage.active.granularity if stage.active else stage.in_shape[2]
    for taps in sorted({1, stage.kernel[1], kernel}):
        for pe in _divisors(outputs):
            for simd in (pe,) if stage.is_depthwise else _divisors(inputs):
                if taps * pe * (1 if stage.is_depthwise else simd) * 8 <= LARGEST_WORD_BITS:
                    yield Folding(simd, pe, taps)


def pixel_counts(stage: Stage) -> Iterator[int]:
    """Of a beat: those above 1 that a stage takes, powers of two times its stride, so that a beat of any of them is a
    part of those of the others.
    """
    if isinstance(stage, MeanPool | Gate) or (isinstance(stage, Convolution) and stage.is_listed):
        return
    step = stage.stride[1] if isinstance(stage, Convolution | MaxPool) else 1
    row, made, pixels = stage.in_shape[1], stage.out_shape[1], step
    while row % pixels == 0 and made % (pixels // step) == 0:
        if pixels > 1:
            yield pixels
        pixels *= 2


def foldings_of_pixels(stage: Convolution, pixels: int) -> Iterator[Folding]:
    """All that its sizes allow with so many pixels in a beat, see `Folding`."""
    outputs = stage.out_shape[2]
    whole = stage.is_depthwise or pixels > stage.stride[1]
    for taps in sorted({stage.kernel[1], math.prod(stage.kernel)}):
        for pe in [outputs] if whole else _divisors(outputs):
            simd = pe if stage.is_depthwise else stage.in_shape[2]
            if taps * pe * (1 if stage.is_depthwise else simd) * 8 <= LARGEST_WORD_BITS:
                yield Folding(simd, pe, taps, pixels)


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]
