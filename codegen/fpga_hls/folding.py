"""How much of each stage is computed in a cycle, so that all take about as long and the design fits the board."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

from espalier.core.errors import InfeasibleDesignError
from espalier.targets.boards import Board, Resources

from .cost.cycles import graph_interval_cycles, interval_cycles
from .cost.resources import graph_resources, resources
from .fifo_depths import with_fifo_depths
from .graph import Convolution, Folding, Products, Stage, StreamGraph
from .network import Choice, StageNetwork, assembled

USABLE = Resources(luts=0.85, ffs=0.85, dsps=1.0, bram_36k=1.0, uram=1.0)
"""Of a part's resources that a design may take: routing fails before all LUTs are used."""

LARGEST_WORD_BITS = 4096
"""Of what a stage reads from its weights in a cycle."""

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
    if frames_per_s is not None:
        return _smallest(network, board, frames_per_s)
    least, most = _bounds(network)
    intervals = sorted({least, most, *_intervals(least, most)})
    low, high, best = 0, len(intervals) - 1, None
    if _design(network, intervals[high], board) is None:
        raise _too_small(network, board, intervals[high])
    while low <= high:  # what fits at an interval fits at a longer one
        middle = (low + high) // 2
        found = _design(network, intervals[middle], board)
        if found is None:
            low = middle + 1
        else:
            best, high = found, middle - 1
    return _finished(best, board)


def _smallest(network: StageNetwork, board: Board, frames_per_s: float) -> Design:
    interval = math.floor(board.clock_hz / frames_per_s)
    least, _ = _bounds(network)
    if interval < least:
        raise InfeasibleDesignError(
            f"{board.name}: {frames_per_s:g} frames a second at {board.clock_hz / 1e6:g} MHz are {interval} cycles "
            f"each; accepted are {least} and more, the beats of the network's widest stream"
        )
    found = _design(network, interval, board)
    if found is None:
        raise _too_small(network, board, interval)
    return _finished(found, board)


def _finished(graph: StreamGraph, board: Board) -> Design:
    graph = with_fifo_depths(graph)
    total = graph_resources(graph)
    if not total.within(_limit(board)):
        raise _beyond(board, total, graph_interval_cycles(graph))
    return Design(graph, graph_interval_cycles(graph), total)


def _limit(board: Board) -> Resources:
    parts = zip(dataclasses.astuple(board.resources), dataclasses.astuple(USABLE))
    return Resources(*(have * share for have, share in parts))


def _design(network: StageNetwork, interval: int, board: Board) -> StreamGraph | None:
    """The cheapest graph of this interval; None if it does not fit."""
    graph = _cheapest(network, interval, board)
    return graph if graph_resources(graph).within(_limit(board)) else None


def _cheapest(network: StageNetwork, interval: int, board: Board) -> StreamGraph:
    options = {stage.name: _options(stage, interval, board) for stage in network.stages}
    choices = {name: found[0] for name, found in options.items()}
    limit, total = _limit(board), Resources()
    for _, cost in choices.values():
        total += cost
    while total.dsps > limit.dsps:  # products go to look-up tables where a DSP saved costs the fewest
        moves = [
            ((other[1].luts - cost.luts) / (cost.dsps - other[1].dsps), name, other)
            for name, (_, cost) in choices.items()
            for other in options[name]
            if other[1].dsps < cost.dsps
        ]
        if not moves:
            break
        _, name, other = min(moves, key=lambda move: move[:2])
        total = total + other[1] + _negative(choices[name][1])
        choices[name] = other
    return assembled(network, {name: choice for name, (choice, _) in choices.items()})


def _negative(one: Resources) -> Resources:
    return Resources(*(-value for value in dataclasses.astuple(one)))


def _options(stage: Stage, interval: int, board: Board) -> list[tuple[Choice, Resources]]:
    """The cheapest choice for each way to multiply, the one that is made first before the others."""
    if not isinstance(stage, Convolution):
        lanes = next(
            n for n in _divisors(stage.in_shape[2]) if _beats(stage) // n <= interval or n == stage.in_shape[2]
        )
        return [(Choice(lanes), resources(dataclasses.replace(stage, lanes=lanes)))]
    found = []
    for products in _products(stage.products):
        candidates = [
            (resources(folded), folding)
            for folding in _foldings(stage)
            if interval_cycles(folded := dataclasses.replace(stage, folding=folding, products=products)) <= interval
        ]
        cost, folding = min(candidates, key=lambda one: (_weight(one[0], board), dataclasses.astuple(one[1])))
        found.append((Choice(folding=folding, products=products), cost))
    return found


def _products(products: Products) -> list[Products]:
    """The ways to multiply by the same weights; DSP blocks first, they are there anyway."""
    return [products, dataclasses.replace(products, kind="lut")] if products.kind == "dsp" else [products]


def _weight(cost: Resources, board: Board) -> float:
    """Parts of the board, added up."""
    have = board.resources
    return cost.luts / have.luts + cost.dsps / have.dsps + cost.bram_36k / have.bram_36k


def _foldings(stage: Convolution) -> Iterator[Folding]:
    kernel = math.prod(stage.kernel)
    for taps in sorted({1, stage.kernel[1], kernel}):
        for pe in _divisors(stage.out_shape[2]):
            for simd in (pe,) if stage.is_depthwise else _divisors(stage.in_shape[2]):
                if taps * pe * (1 if stage.is_depthwise else simd) * 8 <= LARGEST_WORD_BITS:
                    yield Folding(simd, pe, taps)


def _bounds(network: StageNetwork) -> tuple[int, int]:
    """The least and the greatest interval that some folding of every stage reaches."""
    least, most = 1, 1
    for stage in network.stages:
        if isinstance(stage, Convolution):
            reached = [interval_cycles(dataclasses.replace(stage, folding=one)) for one in _foldings(stage)]
            least, most = max(least, min(reached)), max(most, max(reached))
        else:
            least, most = max(least, _beats(stage) // stage.in_shape[2]), max(most, _beats(stage))
    return least, most


def _intervals(least: int, most: int) -> Iterator[int]:
    count = math.ceil(STEPS * math.log10(most / least)) if most > least else 0
    for number in range(count):
        yield round(least * (most / least) ** (number / count))


def _beats(stage: Stage) -> int:
    """Numbers of a frame, in or out."""
    return max(math.prod(stage.in_shape), math.prod(stage.out_shape))


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]


def _too_small(network: StageNetwork, board: Board, interval: int) -> InfeasibleDesignError:
    graph = _cheapest(network, interval, board)
    return _beyond(board, graph_resources(graph), graph_interval_cycles(graph))


def _beyond(board: Board, total: Resources, interval: int) -> InfeasibleDesignError:
    limit, names = _limit(board), total.beyond(_limit(board))
    lacks = ", ".join(f"{getattr(total, name):.0f} {name} of {getattr(limit, name):.0f}" for name in names)
    return InfeasibleDesignError(
        f"{board.name}: the design needs {lacks} at {interval} cycles a frame; accepted is a smaller network, "
        "narrower weights, fewer frames a second, or a larger board"
    )
