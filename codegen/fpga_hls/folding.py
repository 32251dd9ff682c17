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
from espalier.targets.boards import RESOURCE_NAMES, Board, Resources

from .cost.cycles import graph_interval_cycles
from .cost.resources import graph_resources
from .fifo_depths import with_fifo_depths
from .graph import StreamGraph
from .network import StageNetwork, assembled
from .stage_options import Option, StageOptions, best

USABLE = Resources(luts=0.85, ffs=0.85, dsps=1.0, bram_36k=1.0, uram=1.0)
"""Of a part's resources that a design may take: routing fails before all LUTs are used."""

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
    folder = _Folder(network, board, frames_per_s)
    return folder.fastest() if frames_per_s is None else folder.smallest()


class _Folder:
    def __init__(self, network: StageNetwork, board: Board, frames_per_s: float | None):
        self.network, self.board, self.limit, self.frames_per_s = network, board, _limit(board), frames_per_s
        self.options = {stage.name: StageOptions(stage, board) for stage in network.stages}

    def fastest(self) -> Design:
        """What fits at an interval fits at a longer one, so that the shortest is found by halving."""
        least, most = max(one.least_of_one_pixel for one in self.options.values()), self._most()
        if not self._fits(most):
            raise self._too_small(most)
        intervals = self._that_fit(sorted({least, most, *_intervals(least, most)}))
        if intervals[0] == least:
            with contextlib.suppress(InfeasibleDesignError):
                design = self._finished(least)
                return self._below(least) or design
            intervals = intervals[1:] or intervals
        return self._first_finished(intervals)

    def _that_fit(self, intervals: list[int]) -> list[int]:
        return intervals[bisect.bisect_left(intervals, True, key=self._fits) :]

    def _first_finished(self, intervals: list[int]) -> Design:
        """The first design that still fits with its FIFOs, which are only known in the end."""
        *faster, slowest = intervals
        for interval in faster:
            with contextlib.suppress(InfeasibleDesignError):
                return self._finished(interval)
        return self._finished(slowest)

    def _below(self, interval: int) -> Design | None:
        """The fastest design with several pixels in a beat, where one fits that adapters do not slow down again."""
        least = max(one.least for one in self.options.values())
        for one in self._that_fit(sorted({one for one in _intervals(least, interval) if one < interval})):
            if self._cheapest(one).interval_cycles <= one:
                with contextlib.suppress(InfeasibleDesignError):
                    return self._finished(one)
        return None

    def smallest(self) -> Design:
        """The cheapest design that is fast enough."""
        interval = math.floor(self.board.clock_hz / self.frames_per_s)
        slow = {name: one.least for name, one in self.options.items() if not one.reaches(interval)}
        if slow:
            slowest = max(slow, key=slow.get)
            raise InfeasibleDesignError(
                f"{self.board.name}: {self.frames_per_s:g} frames a second at {self.board.clock_hz / 1e6:g} MHz are "
                f"{interval} cycles each; accepted are {slow[slowest]} and more, the least that stage {slowest} takes"
            )
        if not self._fits(interval):
            raise self._too_small(interval)
        design = self._finished(interval)
        several = interval < max(one.least_of_one_pixel for one in self.options.values())
        if several and design.interval_cycles > interval:
            raise InfeasibleDesignError(
                f"{self.board.name}: stages reach {interval} cycles a frame with several pixels in a beat, adapters "
                f"between them {design.interval_cycles}; accepted are strides that divide each other, or fewer frames "
                "a second"
            )
        return design

    def _most(self) -> int:
        """The interval at which every choice of one pixel is fast enough."""
        return max(choice.interval for one in self.options.values() for way in one.one_pixel for choice in way)

    def _fits(self, interval: int) -> bool:
        return self._cheapest(interval).resources.within(self.limit)

    def _cheapest(self, interval: int, saves_blocks: bool = True, reserved_luts: float = 0) -> Design:
        """The design of this interval with the FIFOs that it has at least. reserved_luts: for deeper ones."""
        options = {name: [best(way, interval) for way in one.within(interval)] for name, one in self.options.items()}
        chosen = {name: found[0] for name, found in options.items()}
        if saves_blocks:
            self._save_blocks(chosen, interval)
        self._save_dsps(chosen, options)
        return self._saving_luts(chosen, interval, self.limit.luts - reserved_luts)

    def _save_blocks(self, chosen: dict[str, Option], interval: int) -> None:
        """Until blocks of RAM suffice, choose what takes least of the rest for what it saves of those that lack."""
        have = self.board.resources.bram_36k
        while (lack := sum(one.cost.bram_36k for one in chosen.values()) - self.limit.bram_36k) > 0:
            moves = [
                ((other.weight - one.weight + saved / have) / min(saved, lack), name, other)
                for name, one in chosen.items()
                for other in itertools.chain(*self.options[name].within(interval))
                if (saved := one.cost.bram_36k - other.cost.bram_36k) > 0
                and other.interval <= max(interval, one.interval)
            ]
            if not moves:
                return
            _, name, other = min(moves, key=lambda move: move[:2])
            chosen[name] = other

    def _save_dsps(self, chosen: dict[str, Option], options: dict[str, list[Option]]) -> None:
        """Until DSP blocks suffice, products go to look-up tables where a DSP saved costs the fewest LUTs."""
        total = sum(one.cost.dsps for one in chosen.values())
        while total > self.limit.dsps:
            moves = [
                ((other.cost.luts - one.cost.luts) / (one.cost.dsps - other.cost.dsps), name, other)
                for name, one in chosen.items()
                for other in options[name]
                if other.cost.dsps < one.cost.dsps
            ]
            if not moves:
                return
            _, name, other = min(moves, key=lambda move: move[:2])
            total += other.cost.dsps - chosen[name].cost.dsps
            chosen[name] = other

    def _saving_luts(self, chosen: dict[str, Option], interval: int, room: float) -> Design:
        """Until LUTs suffice, levels of weights go to DSP blocks that are free where a LUT saved costs the fewest."""
        design = self._assembled(chosen)
        if design.resources.luts <= room:
            return design
        others = {name: best(way, interval) for name, one in self.options.items() for way in one.in_dsps(interval)}
        while design.resources.luts > room:
            moves = [
                ((other.cost.dsps - one.cost.dsps) / saved, name)
                for name, other in others.items()
                if (saved := (one := chosen[name]).cost.luts - other.cost.luts) > 0
                and not {"dsps", "bram_36k"}
                & {*(design.resources + other.cost + _negative(one.cost)).beyond(self.limit)}
            ]
            if not moves:
                return design
            _, name = min(moves)
            chosen[name] = others.pop(name)
            design = self._assembled(chosen)
        return design

    def _assembled(self, chosen: dict[str, Option]) -> Design:
        return self._measured(assembled(self.network, {name: one.choice for name, one in chosen.items()}))

    def _measured(self, graph: StreamGraph) -> Design:
        return Design(graph, graph_interval_cycles(graph), graph_resources(graph, self.board.family))

    def _finished(self, interval: int) -> Design:
        """The cheapest design of an interval with its FIFOs."""
        shallow = self._cheapest(interval)
        design = self._measured(with_fifo_depths(shallow.graph))
        if design.resources.luts > self.limit.luts:
            other = self._cheapest(interval, reserved_luts=design.resources.luts - shallow.resources.luts)
            if other.resources != shallow.resources:
                design = self._measured(with_fifo_depths(other.graph))
        if not design.resources.within(self.limit):
            raise self._beyond(design, interval)
        return design

    def _too_small(self, interval: int) -> InfeasibleDesignError:
        return self._beyond(self._cheapest(interval, saves_blocks=False), interval)

    def _beyond(self, design: Design, interval: int) -> InfeasibleDesignError:
        """design: the cheapest of an interval. Fewer frames a second help where there are slower choices."""
        lacks = ", ".join(self._lack(name, design) for name in design.resources.beyond(self.limit))
        cycles, is_slowest = design.interval_cycles, interval >= self._most()
        fewer = "" if self.frames_per_s is None or is_slowest else "fewer frames a second, "
        return InfeasibleDesignError(
            f"{self.board.name}: the design needs {lacks} at {cycles:,} cycles a frame"
            f"{', its slowest folding' if is_slowest else ''}; accepted is a smaller network, narrower weights, "
            f"{fewer}or a larger board"
        )

    def _lack(self, name: str, design: Design) -> str:
        need, usable, have = (getattr(one, name) for one in (design.resources, self.limit, self.board.resources))
        share = getattr(USABLE, name)
        usable = f"{_number(usable)} usable ({100 * share:g} % of {_number(have)})" if share < 1 else _number(have)
        return f"{_number(need)} {RESOURCE_NAMES[name]} of {usable}"


def _limit(board: Board) -> Resources:
    parts = zip(dataclasses.astuple(board.resources), dataclasses.astuple(USABLE))
    return Resources(*(have * share for have, share in parts))


def _negative(one: Resources) -> Resources:
    return Resources(*(-value for value in dataclasses.astuple(one)))


def _number(value: float) -> str:
    """Halves, as blocks of RAM have, or rounded up."""
    return f"{value if value % 0.5 == 0 else math.ceil(value):,.10g}"


def _intervals(least: int, most: int) -> Iterator[int]:
    count = math.ceil(STEPS * math.log10(most / least)) if most > least else 0
    for number in range(count):
        yield round(least * (most / least) ** (number / count))
