"""When each beat of a graph is written and read if no FIFO is ever full: cycle for cycle, frame after frame.

The model is of the emitted SystemVerilog. A convolution starts a group when the last pixel of its window is in the line
buffer (and, with a residual, the group's beats are there; with lists of channels, those of the frame), and then takes
`cycles_per_group` cycles; a row of the line buffer is free for the next image rows once no window needs it any more.
How long a gate takes does not depend on what it chooses. Images come from the host at the interval of the slowest
stage, their beats spread evenly.

What is computed so is an admissible schedule of the graph with FIFOs of `high_water` beats. Stages of fixed rates run
no later than in any admissible schedule (Sriram and Bhattacharyya, Embedded Multiprocessors, section 4), so FIFOs of
these depths neither slow the graph down nor stop it.

An image whose beats come as fast as they are taken fills FIFOs where a stage is slower than the ones before it. Its
times are the least ones that keep to the depths: what waits for room is found from the times found before, beginning
with none, until nothing changes (Kleene's theorem: times are never too late on the way).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from espalier.core.errors import InfeasibleDesignError

from .cost.cycles import graph_interval_cycles
from .graph import Edge, StreamGraph
from .rtl.timing import (
    PI_LATENCY,
    QUEUE,
    WINNERS_LATENCY,
    cycles_after_scores,
    cycles_of_giving,
    cycles_to_give,
    cycles_to_take,
    fifo_latency,
    latency,
    line_buffer_rows,
    result_depth,
    words_of_tap,
)
from .stages import Adapter, Convolution, Fork, Gate, MaxPool, MeanPool, Stage
from .windows import Windows, windows_of

FRAMES = 3
NEVER = -1
"""A cycle before all others."""

FREED_LATENCY = 3
"""Cycles from a row's last read to the first write over it, see window_reader.sv."""

ADD_LATENCY, MEAN_LATENCY = 10, 9
"""Cycles from a beat's arrival to that of the result, see add.sv and mean_pool.sv."""


@dataclass(frozen=True)
class Schedule:
    """interval_cycles: between the last two frames' ends. latency_cycles: from the first beat in to the first frame's
    last one out, both counted. high_water: the most beats in each FIFO, by the edge's name.
    """

    interval_cycles: int
    latency_cycles: int
    high_water: dict[str, int]


def schedule(graph: StreamGraph, interval: int | None = None) -> Schedule:
    """The schedule of a few frames; interval: between the images that come, that of the slowest stage by default."""
    interval = interval or graph_interval_cycles(graph)
    beats = np.arange(graph.input.beats, dtype=np.int64) * interval // graph.input.beats
    run = _run(graph, np.concatenate([frame * interval + beats for frame in range(FRAMES)]), _Run())
    ends = run.read[graph.output.name].reshape(FRAMES, -1)[:, -1]
    high = {edge.name: _most(run.written[edge.name], run.read[edge.name]) for edge in graph.edges}
    return Schedule(int(ends[-1] - ends[-2]), int(ends[0]) + 1, high)


def latency_cycles(graph: StreamGraph) -> int:
    """Of the first frame, whose beats come as fast as they are taken; as in `Schedule`.

    Those of later frames change nothing: they come behind it everywhere. Raises as `check_depths`.
    """
    check_depths(graph)
    beats = np.arange(graph.input.beats, dtype=np.int64)
    before, run = _Run(), _run(graph, beats, _Run())
    while not run.equals(before):
        before, run = run, _run(graph, beats, run)
    return int(run.read[graph.output.name][-1]) + 1


def check_depths(graph: StreamGraph) -> None:
    """Raise InfeasibleDesignError if a FIFO is shallower than the schedule needs: the graph might stop for good."""
    high_water = schedule(graph).high_water
    for edge in graph.edges:
        needed = high_water[edge.name]
        if edge.depth < needed:
            raise InfeasibleDesignError(
                f"stream {edge.name}: its FIFO holds {edge.depth} beats and the schedule needs {needed}, so the design "
                f"might wait forever; accepted is {needed} or more"
            )


@dataclass(frozen=True)
class _Run:
    """Cycles in which the beats of each stream are written and read, by the edge's name; none: nothing ever waited."""

    written: dict[str, np.ndarray] = field(default_factory=dict)
    read: dict[str, np.ndarray] = field(default_factory=dict)

    def equals(self, other: _Run) -> bool:
        """Whether all beats are written in the same cycles."""
        names = self.written.keys()
        return names == other.written.keys() and all(
            np.array_equal(self.written[name], other.written[name]) for name in names
        )


@dataclass(frozen=True)
class _Room:
    """What full FIFOs behind a stage hold back, by what was found before.

    behind: from when the FIFO has room for each beat. left: when each beat went into it.
    """

    behind: np.ndarray
    left: np.ndarray

    def free(self, places: int, each: int = 1) -> np.ndarray:
        """From when `each` more beats find room among `places` in the stage, again and again."""
        last = np.arange(each - 1, len(self.left), each) - places
        return np.where(last >= 0, self.left[np.maximum(last, 0)] + 1, 0)


def _run(graph: StreamGraph, beats: np.ndarray, before: _Run) -> _Run:
    """beats: when those of the input come. FIFOs are full where they are by the times of `before`."""
    frames = len(beats) // graph.input.beats
    run = _Run()
    run.written[graph.input.name] = np.maximum(beats, _behind(graph, graph.input, before, frames))
    for stage in graph.stages:
        inputs, outputs = graph.into(stage), graph.out_of(stage)
        room = {
            edge.source_port: _Room(
                _behind(graph, edge, before, frames),
                before.written.get(edge.name, np.full(frames * edge.beats, NEVER, np.int64)),
            )
            for edge in outputs
        }
        taken, made = _stage(stage, [run.written[edge.name] + fifo_latency(edge.depth) for edge in inputs], room)
        run.read.update({edge.name: times for edge, times in zip(inputs, taken, strict=True)})
        run.written.update({edge.name: made[edge.source_port] for edge in outputs})
    last = graph.output
    run.read[last.name] = run.written[last.name] + fifo_latency(last.depth)
    return run


def _behind(graph: StreamGraph, edge: Edge, before: _Run, frames: int) -> np.ndarray:
    """From when a stream's FIFO has room for each beat; a residual goes on into one inside of its stage."""
    found = np.zeros(frames * edge.beats, np.int64)
    if edge.name not in before.read:
        return found
    depth, freed = edge.depth, before.read[edge.name] + 1
    if edge.sink_port == "residual":
        stage = graph.stage(edge.sink)
        depth += result_depth(stage)
        per_group = stage.sums_per_group // stage.out_lanes
        # Taken from the inner FIFO, a beat leaves room there in the next cycle, and here in the one after.
        freed = freed + stage.cycles_per_group + cycles_to_take(stage) + np.arange(len(freed)) % per_group
    if depth < len(found):
        found[depth:] = freed[: len(found) - depth]
    return found


def _most(written: np.ndarray, read: np.ndarray) -> int:
    """Beats in a FIFO at most: what was written less what was read before."""
    return int((np.arange(1, len(written) + 1) - np.searchsorted(read, written, "left")).max())


def _stage(
    stage: Stage, there: list[np.ndarray], room: dict[str, _Room]
) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """(times at which the beats of each input are read, those at which the beats of each output are written)."""
    if isinstance(stage, Gate):  # its lists are short: the FIFOs behind it are never full
        return _gate(stage, *there)
    if isinstance(stage, Fork):
        return _fork(there[0], room)
    taken, made = _single(stage, there, room["y"])
    return taken, {"y": made}


def _single(stage: Stage, there: list[np.ndarray], room: _Room) -> tuple[list[np.ndarray], np.ndarray]:
    """As `_stage`, for stages with one output."""
    if isinstance(stage, Convolution):
        return _convolution(stage, there, room)
    if isinstance(stage, MaxPool):
        taken, starts = _windows(_Walk.of_pool(stage), there[0], room.free(result_depth(stage)), [])
        return [taken], _serial(np.maximum(starts + latency(stage), room.behind))
    if isinstance(stage, Adapter):
        return _adapter(stage, there[0], room.behind)
    if isinstance(stage, MeanPool):
        return _mean(stage, there[0], room)
    taken = _serial(np.maximum.reduce([*there, room.free(QUEUE)]))
    return [taken] * len(there), _serial(np.maximum(taken + ADD_LATENCY, room.behind))


def _mean(stage: MeanPool, there: np.ndarray, room: _Room) -> tuple[list[np.ndarray], np.ndarray]:
    words, pixels = stage.in_shape[2] // stage.lanes, math.prod(stage.in_shape[:2])
    lower = there.reshape(-1, pixels, words).copy()
    lower[:, -1] = np.maximum(lower[:, -1], room.free(QUEUE).reshape(-1, words))
    taken = _serial(lower.ravel())
    ends = taken.reshape(-1, pixels, words)[:, -1].ravel()
    return [taken], _serial(np.maximum(ends + MEAN_LATENCY, room.behind))


def _fork(there: np.ndarray, room: dict[str, _Room]) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """A beat goes when every copy of the one before is taken, and each copy as soon as there is room for it."""
    taken = _serial(np.maximum.reduce([there, *(one.behind for one in room.values())]))
    first = np.maximum(there, np.concatenate([[0], taken[:-1] + 1]))
    return [taken], {port: np.maximum(first, one.behind) for port, one in room.items()}


def _serial(lower: np.ndarray, step: int = 1) -> np.ndarray:
    """The earliest times, not before `lower` and at least `step` apart."""
    places = np.arange(len(lower), dtype=np.int64) * step
    return np.maximum.accumulate(lower - places) + places


def _adapter(stage: Adapter, there: np.ndarray, behind: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """The next beat is taken in the cycle in which the last one of those before goes."""
    if stage.in_lanes < stage.out_lanes:
        ratio = stage.out_lanes // stage.in_lanes
        lower = there.copy()
        lower[ratio::ratio] = np.maximum(lower[ratio::ratio], behind[:-1])
        taken = _serial(lower)
        return [taken], np.maximum(taken[ratio - 1 :: ratio] + 1, behind)
    ratio = stage.in_lanes // stage.out_lanes
    made = _serial(np.maximum(np.repeat(there + 1, ratio), behind))
    return [np.maximum(there, np.concatenate([[0], made[ratio - 1 : -1 : ratio]]))], made


def _convolution(stage: Convolution, there: list[np.ndarray], room: _Room):
    """Groups start in order, once their results will find room; a residual's beats must be there, and are read then."""
    given = dict(zip(stage.in_ports, there, strict=True))
    per_group = stage.sums_per_group // stage.out_lanes
    lower, has_residual = room.free(result_depth(stage), per_group), "residual" in given
    if has_residual:
        lower = np.maximum(lower, given["residual"][per_group - 1 :: per_group] + 1)
    active, winners = stage.active, stage.winners
    lists = {
        "active": active and (active.count, active.granularity // stage.folding.simd),
        "winners": winners and (winners.count, winners.granularity // stage.folding.pe),
        "pi": (stage.groups, 1),
    }
    read = [_List(given[port], *sizes) for port, sizes in lists.items() if port in given]
    taken, starts = _windows(_Walk.of_convolution(stage), given["x"], lower, read)
    made = starts[:, None] + stage.cycles_per_group - 1 + latency(stage) + np.arange(per_group)
    residual = [np.repeat(starts, per_group)] if has_residual else []
    return [taken, *residual, *(one.taken for one in read)], _serial(np.maximum(made.ravel(), room.behind))


@dataclass
class _List:
    """A list that is read for each frame, see channel_list.sv: two fit.

    there: when its beats can be read; count: of a frame; split: cycles that each takes. ended: the cycles in which
    frames ended.
    """

    there: np.ndarray
    count: int
    split: int
    ended: list[int] = field(default_factory=list)

    def __post_init__(self):
        self.taken = np.empty_like(self.there)

    def here(self, frame: int) -> int:
        """The cycle from which the frame's list is complete; its place is free once the last but one has ended."""
        at = slice(frame * self.count, (frame + 1) * self.count)
        lower = self.there[at].copy()
        before = self.taken[at.start - 1] if frame else -1
        lower[0] = max(lower[0], before + 1, self.ended[frame - 2] + 1 if frame >= 2 else 0)
        self.taken[at] = _serial(lower, self.split) + self.split - 1
        return int(self.taken[at.stop - 1]) + 1


def _gate(stage: Gate, there: np.ndarray, active: np.ndarray | None = None):
    """It reads a frame, then predicts, then gives, and reads the next one only after that."""
    beats = math.prod(stage.in_shape) // stage.lanes
    lists = [] if active is None else [_List(active, stage.active.count, stage.active.granularity)]
    taken, free, gives = np.empty_like(there), 0, []
    for frame in range(len(there) // beats):
        at = slice(frame * beats, (frame + 1) * beats)
        lower = there[at].copy()
        lower[0] = max(lower[0], free)
        taken[at] = _serial(lower)
        begins = max([int(taken[at.stop - 1]) + 1, *(one.here(frame) for one in lists)])
        gives.append(begins + cycles_to_give(stage))
        free = gives[-1] + cycles_of_giving(stage)
        for one in lists:
            one.ended.append(gives[-1] - cycles_after_scores(stage))
    starts, each = np.array(gives)[:, None], stage.winners.granularity if stage.has_pi else 1
    made = {"winners": (starts + np.arange(stage.winners.count) * each + WINNERS_LATENCY).ravel()}
    if stage.has_pi:
        made["pi"] = (starts + np.arange(stage.winners.kept) + PI_LATENCY).ravel()
    return [taken, *(one.taken for one in lists)], made


@dataclass(frozen=True)
class _Walk:
    """What the line buffer of a stage does. words: beats of a pixel."""

    seen: Windows
    words: int
    groups: int
    cycles: int
    buffer_rows: int

    @staticmethod
    def of_convolution(stage: Convolution) -> _Walk:
        return _Walk._of(stage, stage.groups, stage.cycles_per_group)

    @staticmethod
    def of_pool(stage: MaxPool) -> _Walk:
        return _Walk._of(stage, words_of_tap(stage), 1)

    @staticmethod
    def _of(stage: Convolution | MaxPool, groups: int, cycles: int) -> _Walk:
        return _Walk(windows_of(stage), words_of_tap(stage), groups, cycles, line_buffer_rows(stage))


def _windows(walk: _Walk, there: np.ndarray, lower: np.ndarray, lists: list[_List]) -> tuple[np.ndarray, np.ndarray]:
    """(times of the input's beats, starts of the groups).

    lower: what each group waits for besides; lists: what each frame does.
    """
    seen = walk.seen
    per_row = seen.width * walk.words
    frames = len(there) // (seen.height * per_row)
    taken = np.empty(frames * seen.height * per_row, np.int64)
    starts = np.empty(frames * seen.rows * seen.columns * walk.groups, np.int64)
    ends_of_pixels = seen.last_columns() * walk.words + walk.words - 1
    freed = np.zeros(frames * seen.height + walk.buffer_rows, np.int64)  # when each row's place is free again
    in_row, read_until, started_until = 0, -1, 0
    per_out_row = seen.columns * walk.groups
    places = np.arange(per_out_row, dtype=np.int64) * walk.cycles
    for number in range(frames * seen.rows):
        frame, row = divmod(number, seen.rows)
        needed = frame * seen.height + max(seen.last_row(row), 0)
        while in_row <= needed:
            in_row, read_until = _read_row(in_row, per_row, there, taken, freed, read_until, walk.buffer_rows)
        ready = np.zeros((seen.columns, walk.groups), np.int64)
        ready[:, 0] = taken[needed * per_row + ends_of_pixels] + 1
        at = slice(number * per_out_row, (number + 1) * per_out_row)
        wait = np.maximum(ready.ravel(), lower[at])
        wait[0] = max([wait[0], started_until, *(one.here(frame) for one in lists if row == 0)])
        starts[at] = np.maximum.accumulate(wait - places) + places
        started_until = starts[at.stop - 1] + walk.cycles
        for one in lists if row == seen.rows - 1 else []:
            one.ended.append(int(started_until) - 1)
        before = seen.oldest_after(row - 1) if row else 0
        freed[frame * seen.height + before : frame * seen.height + seen.oldest_after(row)] = (
            started_until + FREED_LATENCY
        )
        for free_now in range(in_row, min(frames * seen.height, needed + 1 + seen.stride[0])):
            if free_now - walk.buffer_rows < frame * seen.height + seen.oldest_after(row):
                in_row, read_until = _read_row(in_row, per_row, there, taken, freed, read_until, walk.buffer_rows)
    while in_row < frames * seen.height:
        in_row, read_until = _read_row(in_row, per_row, there, taken, freed, read_until, walk.buffer_rows)
    return taken, starts


def _read_row(row: int, per_row: int, there, taken, freed, read_until: int, buffer_rows: int) -> tuple[int, int]:
    """Read one row of the input as early as its place in the buffer is free."""
    at = slice(row * per_row, (row + 1) * per_row)
    lower = there[at].copy()
    lower[0] = max(lower[0], read_until + 1, freed[row - buffer_rows] if row >= buffer_rows else 0)
    taken[at] = _serial(lower)
    return row + 1, int(taken[at.stop - 1])
