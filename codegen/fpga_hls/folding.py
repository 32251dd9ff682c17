"""How much of each stage is computed in a cycle, so that all take about as long and the design fits the board."""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from espalier.core.errors import InfeasibleDesignError
from espalier.targets.boards import Board, Resources

from .cost.cycles import graph_interval_cycles, interval_cycles
from .cost.resources import graph_resources, resources
from .fifo_depths import with_fifo_depths
from .graph import StreamGraph
from .network import Choice, StageNetwork, assembled
from .stages import Convolution, Folding, Gate, MaxPool, MeanPool, Products, Stage, folded

USABLE = Resources(luts=0.85, ffs=0.85, dsps=1.0, bram_36k=1.0, uram=1.0)
"""Of a part's resources that a design may take: routing fails before all LUTs are used."""

LARGEST_WORD_BITS = 1 << 15
"""Of what a stage reads from its weights in a cycle: 4,096 products, as many as a large part can hold for one stage."""

STEPS = 48
"""Intervals that are tried in each factor of ten."""


@dataclass(frozen=True)
class Design:
    """A folded graph with its FIFOs. interval_cycles: between frames. resources: estimated, see `cost.resources`."""

    graph: StreamGraph
    interval_cycles: int
    resources: Resources


def fold(network: StageNetwork, board: Board, frames_per_s: float | None = None) -> Design:
    """The fastest design that fits the board; with `frames_per_s` the smallest one that is as fast.

    Raises InfeasibleDesignError, with the numbers, if there is none.
    """
    folder = _Folder(network, board)
    if frames_per_s is not None:
        return folder.smallest(frames_per_s)
    return folder.fastest()


@dataclass(frozen=True)
class _Option:
    """A way to compute a stage. weight: parts of the board, added up."""

    interval: int
    cost: Resources
    weight: float
    choice: Choice


class _Folder:
    def __init__(self, network: StageNetwork, board: Board):
        self.network, self.board, self.limit = network, board, _limit(board)
        self.tables = {stage.name: _table(stage, board) for stage in network.stages}

    def fastest(self) -> Design:
        """What fits at an interval fits at a longer one, so that the shortest is found by halving."""
        least = self._least()
        most = max(max(one.interval for one in way) for table in self.tables.values() for way in table)
        intervals = sorted({least, most, *_intervals(least, most)})
        if self._design(most) is None:
            raise self._too_small(most)
        first = bisect.bisect_left(intervals, True, key=lambda interval: self._design(interval) is not None)
        return self._first_finished(intervals[first:])

    def _first_finished(self, intervals: list[int]) -> Design:
        """The first design that still fits with its FIFOs, which are only known in the end."""
        *faster, slowest = intervals
        for interval in faster:
            with contextlib.suppress(InfeasibleDesignError):
                return self._finished(self._cheapest(interval))
        return self._finished(self._cheapest(slowest))

    def smallest(self, frames_per_s: float) -> Design:
        """The cheapest design that is fast enough."""
        interval = math.floor(self.board.clock_hz / frames_per_s)
        several = interval < self._least()
        if several:
            self._take_several_pixels(interval)
        least = self._least()
        if interval < least:
            slowest = max(self.tables, key=self._least_of)
            raise InfeasibleDesignError(
                f"{self.board.name}: {frames_per_s:g} frames a second at {self.board.clock_hz / 1e6:g} MHz are "
                f"{interval} cycles each; accepted are {least} and more, the least that stage {slowest} takes"
            )
        found = self._design(interval)
        if found is None:
            raise self._too_small(interval)
        design = self._finished(found)
        if several and design.interval_cycles > interval:
            raise InfeasibleDesignError(
                f"{self.board.name}: stages reach {interval} cycles a frame with several pixels in a beat, adapters "
                f"between them {design.interval_cycles}; accepted are strides that divide each other, or fewer frames "
                "a second"
            )
        return design

    def _take_several_pixels(self, interval: int) -> None:
        """Where a stage cannot be so fast with beats of one pixel at most."""
        for stage in self.network.stages:
            if self._least_of(stage.name) > interval:
                self.tables[stage.name] = _table_of_pixels(stage, self.board) or self.tables[stage.name]

    def _least(self) -> int:
        """The least interval that some choice of every stage reaches."""
        return max(map(self._least_of, self.tables))

    def _least_of(self, stage: str) -> int:
        return min(one.interval for way in self.tables[stage] for one in way)

    def _design(self, interval: int) -> StreamGraph | None:
        """The cheapest graph of this interval; None if it does not fit."""
        graph = self._cheapest(interval)
        return graph if graph_resources(graph, self.board.family).within(self.limit) else None

    def _cheapest(self, interval: int, saves_blocks: bool = True) -> StreamGraph:
        options = {name: [_best(way, interval) for way in table] for name, table in self.tables.items()}
        chosen = {name: found[0] for name, found in options.items()}
        if saves_blocks:
            self._save_blocks(chosen, interval)
        total = Resources()
        for one in chosen.values():
            total += one.cost
        while total.dsps > self.limit.dsps:  # products go to look-up tables where a DSP saved costs the fewest
            moves = [
                ((other.cost.luts - one.cost.luts) / (one.cost.dsps - other.cost.dsps), name, other)
                for name, one in chosen.items()
                for other in options[name]
                if other.cost.dsps < one.cost.dsps
            ]
            if not moves:
                break
            _, name, other = min(moves, key=lambda move: move[:2])
            total = total + other.cost + _negative(chosen[name].cost)
            chosen[name] = other
        return assembled(self.network, {name: one.choice for name, one in chosen.items()})

    def _save_blocks(self, chosen: dict[str, _Option], interval: int) -> None:
        """Until blocks of RAM suffice, choose what takes least of the rest for what it saves of those that lack."""
        have = self.board.resources.bram_36k
        while (lack := sum(one.cost.bram_36k for one in chosen.values()) - self.limit.bram_36k) > 0:
            moves = [
                ((other.weight - one.weight + saved / have) / min(saved, lack), name, other)
                for name, one in chosen.items()
                for other in itertools.chain(*self.tables[name])
                if (saved := one.cost.bram_36k - other.cost.bram_36k) > 0
                and other.interval <= max(interval, one.interval)
            ]
            if not moves:
                return
            _, name, other = min(moves, key=lambda move: move[:2])
            chosen[name] = other

    def _finished(self, graph: StreamGraph) -> Design:
        graph = with_fifo_depths(graph)
        total = graph_resources(graph, self.board.family)
        if not total.within(self.limit):
            raise self._beyond(total, graph_interval_cycles(graph))
        return Design(graph, graph_interval_cycles(graph), total)

    def _too_small(self, interval: int) -> InfeasibleDesignError:
        graph = self._cheapest(interval, saves_blocks=False)
        return self._beyond(graph_resources(graph, self.board.family), graph_interval_cycles(graph))

    def _beyond(self, total: Resources, interval: int) -> InfeasibleDesignError:
        names = total.beyond(self.limit)
        lacks = ", ".join(f"{getattr(total, name):,g} {name} of {getattr(self.limit, name):,g}" for name in names)
        return InfeasibleDesignError(
            f"{self.board.name}: the design needs {lacks} at {interval} cycles a frame; accepted is a smaller network, "
            "narrower weights, fewer frames a second, or a larger board"
        )


def _limit(board: Board) -> Resources:
    parts = zip(dataclasses.astuple(board.resources), dataclasses.astuple(USABLE))
    return Resources(*(have * share for have, share in parts))


def _negative(one: Resources) -> Resources:
    return Resources(*(-value for value in dataclasses.astuple(one)))


def _best(way: list[_Option], interval: int) -> _Option:
    """The cheapest that is fast enough, else the fastest."""
    enough = [one for one in way if one.interval <= interval]
    return min(enough, key=lambda one: one.weight) if enough else min(way, key=lambda one: one.interval)


def _table(stage: Stage, board: Board) -> list[list[_Option]]:
    """All choices for a stage, one list for each way to multiply, the one that is made first before the others."""
    if not isinstance(stage, Convolution):
        return [[_option(dataclasses.replace(stage, lanes=n), Choice(n), board) for n in _divisors(stage.in_shape[2])]]
    return [
        [
            _option(folded(stage, folding, products), Choice(folding=folding, products=products), board)
            for folding in foldings(stage)
        ]
        for products in ways_to_multiply(stage.products)
    ]


def _table_of_pixels(stage: Stage, board: Board) -> list[list[_Option]]:
    """As `_table`, the choices with several pixels in a beat; none for a stage that takes one."""
    counts = list(pixel_counts(stage))
    if not counts:
        return []
    if not isinstance(stage, Convolution):
        lanes = [pixels * stage.in_shape[2] for pixels in counts]
        return [[_option(dataclasses.replace(stage, lanes=n), Choice(n), board) for n in lanes]]
    products = Products("lut") if stage.products.kind == "focused" else stage.products  # levels that are multiplied
    found = [folding for pixels in counts for folding in foldings_of_pixels(stage, pixels)]
    ways = ways_to_multiply(products) if found else []
    return [
        [_option(folded(stage, folding, way), Choice(folding=folding, products=way), board) for folding in found]
        for way in ways
    ]


def _option(stage: Stage, choice: Choice, board: Board) -> _Option:
    cost = resources(stage, board.family)
    return _Option(interval_cycles(stage), cost, _weight(cost, board), choice)


def ways_to_multiply(products: Products) -> list[Products]:
    """The ways to multiply by the same weights; DSP blocks first, they are there anyway."""
    return [products, dataclasses.replace(products, kind="lut")] if products.kind == "dsp" else [products]


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


def _intervals(least: int, most: int) -> Iterator[int]:
    count = math.ceil(STEPS * math.log10(most / least)) if most > least else 0
    for number in range(count):
        yield round(least * (most / least) ** (number / count))


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]
