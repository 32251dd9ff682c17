"""The dataflow graph of a streaming accelerator, as plain values: `stages`, and the streams between them.

A stream carries one tensor [H, W, C] of unsigned numbers per frame, pixel after pixel in raster order. A beat holds
`lanes` consecutive numbers, the first in the lowest bits: channels of one pixel, or all channels of several neighbours
in a row, whose number divides W. So a frame is H * W * C / lanes beats. All streams are ready/valid; a stage reads each
beat once.

Of a tensor behind a channel gate the stream carries the winners alone, in the order of their numbers: how many they are
is known, so that its shape and every stage's cycles are static. Which ones they are comes, once for each frame, by a
stream of group numbers from the gate to each stage that reads weights by them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

from espalier.core.errors import InvalidInputError

from .check_stage import check_stage
from .ports import bits_in, bits_out, in_shape, lanes_in, lanes_out, out_shape
from .stages import Convolution, Shape, Stage

HOST = ""
"""In an edge, the place of a stage's name: the host writes the graph's input and reads its output."""


@dataclass(frozen=True)
class Edge:
    """A stream from a stage's port to another's.

    source, sink: names of stages, HOST at the edges of the graph. lanes: numbers of a beat. bits: of a number.
    depth: beats that its FIFO holds.
    """

    source: str
    source_port: str
    sink: str
    sink_port: str
    shape: Shape
    lanes: int
    bits: int = 8
    depth: int = 2

    @property
    def name(self) -> str:
        """Unique in a graph; an identifier of C++ and SystemVerilog if the names of stages are."""
        start = f"{self.source}_{self.source_port}" if self.source else "input"
        return f"{start}_to_{self.sink}_{self.sink_port}" if self.sink else f"{start}_to_output"

    @property
    def beats(self) -> int:
        """Of a frame."""
        return math.prod(self.shape) // self.lanes


@dataclass(frozen=True, eq=False)
class StreamGraph:
    """Stages in an order in which each comes after what it reads, and the streams between them.

    One stream comes from the host and one goes to it.
    Raises InvalidInputError for a port without exactly one stream, or a stream that does not fit its ends.
    """

    stages: tuple[Stage, ...]
    edges: tuple[Edge, ...]

    def __post_init__(self):
        self._check_ports()
        for stage in self.stages:
            check_stage(stage)
        for edge in self.edges:
            self._check_edge(edge)

    @property
    def input(self) -> Edge:
        """From the host."""
        return next(edge for edge in self.edges if edge.source == HOST)

    @property
    def output(self) -> Edge:
        """To the host."""
        return next(edge for edge in self.edges if edge.sink == HOST)

    def stage(self, name: str) -> Stage:
        """By name."""
        return next(stage for stage in self.stages if stage.name == name)

    def into(self, stage: Stage) -> list[Edge]:
        """The streams that a stage reads, in the order of its ports."""
        found = {edge.sink_port: edge for edge in self.edges if edge.sink == stage.name}
        return [found[port] for port in stage.in_ports]

    def out_of(self, stage: Stage) -> list[Edge]:
        """The streams that a stage writes, in the order of its ports."""
        found = {edge.source_port: edge for edge in self.edges if edge.source == stage.name}
        return [found[port] for port in stage.out_ports]

    def convolutions(self) -> list[Convolution]:
        """The stages with weights."""
        return [stage for stage in self.stages if isinstance(stage, Convolution)]

    def with_depths(self, depths: dict[str, int]) -> StreamGraph:
        """The same graph with FIFOs of these depths, by the edges' names."""
        edges = [dataclasses.replace(edge, depth=depths.get(edge.name, edge.depth)) for edge in self.edges]
        return StreamGraph(self.stages, tuple(edges))

    def _check_ports(self) -> None:
        wanted = [(HOST, "out"), (HOST, "in")]
        given = [(HOST, "out") for edge in self.edges if edge.source == HOST]
        given += [(HOST, "in") for edge in self.edges if edge.sink == HOST]
        for stage in self.stages:
            wanted += [(stage.name, port) for port in (*stage.in_ports, *stage.out_ports)]
        given += [(edge.source, edge.source_port) for edge in self.edges if edge.source != HOST]
        given += [(edge.sink, edge.sink_port) for edge in self.edges if edge.sink != HOST]
        for one in set(wanted) ^ set(given) | {one for one in given if given.count(one) > 1}:
            raise InvalidInputError(
                f"stream graph: {one[0] or 'host'}.{one[1]} has {given.count(one)} streams, accepted is one"
            )
        place = {stage.name: number for number, stage in enumerate(self.stages)}
        for edge in self.edges:
            if edge.source and edge.sink and place[edge.source] >= place[edge.sink]:
                raise InvalidInputError(f"stream graph: {edge.name} goes backwards, accepted are graphs without cycles")

    def _check_edge(self, edge: Edge) -> None:
        if edge.depth < 1:
            raise InvalidInputError(f"stream graph: {edge.name} has depth {edge.depth}, accepted is 1 or more")
        for ends in self._ends(edge):
            if ends != (edge.shape, edge.lanes, edge.bits):
                raise InvalidInputError(
                    f"stream graph: {edge.name} has (shape, lanes, bits) {edge.shape, edge.lanes, edge.bits}, "
                    f"accepted is {ends}"
                )

    def _ends(self, edge: Edge) -> Iterator[tuple[Shape, int, int]]:
        if edge.source:
            stage, port = self.stage(edge.source), edge.source_port
            yield out_shape(stage, port), lanes_out(stage, port), bits_out(stage, port)
        if edge.sink:
            stage, port = self.stage(edge.sink), edge.sink_port
            yield in_shape(stage, port), lanes_in(stage, port), bits_in(stage, port)
