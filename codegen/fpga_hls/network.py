"""Stages without streams: what a network is before its stages are folded, and how a graph is made of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .graph import (
    HOST,
    Adapter,
    Convolution,
    Edge,
    Folding,
    Fork,
    Products,
    Shape,
    Stage,
    StreamGraph,
    bits_out,
    folded,
    in_shape,
    lanes_in,
    lanes_out,
)


@dataclass(frozen=True, eq=False)
class StageNetwork:
    """Stages in program order, and which stage each port reads.

    sources: (stage, port) -> the name of the stage that it reads, HOST for the input. result: what the host reads.
    shape: of the input. layers: stage -> the layer of the model that it computes.
    """

    shape: Shape
    stages: tuple[Stage, ...]
    sources: Mapping[tuple[str, str], str]
    result: str
    layers: Mapping[str, str]

    def readers(self, name: str) -> list[tuple[str, str]]:
        """(stage, port) of all that read a stage, or the input; the host last."""
        found = [at for at, source in self.sources.items() if source == name]
        return [*found, (HOST, "")] if name == self.result else found


@dataclass(frozen=True)
class Choice:
    """What folding decides for a stage. lanes: of a stage without weights; folding, products: of one with them."""

    lanes: int = 1
    folding: Folding = Folding()
    products: Products | None = None


def assembled(network: StageNetwork, choices: Mapping[str, Choice]) -> StreamGraph:
    """The graph with forks and adapters where streams need them, its FIFOs as shallow as they may be."""
    return _Assembly(network, choices).graph()


class _Assembly:
    def __init__(self, network: StageNetwork, choices: Mapping[str, Choice]):
        self.network = network
        self.folded = {stage.name: _chosen(stage, choices[stage.name]) for stage in network.stages}
        self.stages: list[Stage] = []
        self.edges: list[Edge] = []
        self.origins: dict[tuple[str, str, str], tuple[str, str]] = {}

    def graph(self) -> StreamGraph:
        self._fork(HOST, self.network.shape, self._first_lanes(), 8)
        for stage in self.folded.values():
            for port in stage.in_ports:
                self._feed(stage, port)
            self.stages.append(stage)
            self._fork(stage.name, stage.out_shape, lanes_out(stage), bits_out(stage))
        return StreamGraph(tuple(self.stages), tuple(self.edges))

    def _first_lanes(self) -> int:
        """Of the input: what its readers take, or its greatest common divisor where they differ."""
        return math.gcd(*(lanes_in(self.folded[name], port) for name, port in self.network.readers(HOST)))

    def _fork(self, name: str, shape: Shape, lanes: int, bits: int) -> None:
        """Give each reader of a stage a stream of its own; the host's is made at once."""
        readers = self.network.readers(name)
        if len(readers) > 1:
            fork = Fork(f"{name or 'input'}_fork", shape, shape, len(readers), lanes, bits)
            self.edges.append(Edge(name, "y" if name else "", fork.name, "x", shape, lanes, bits))
            self.stages.append(fork)
            ends = [(fork.name, port) for port in fork.out_ports]
        else:
            ends = [(name, "y" if name else "")]
        for reader, end in zip(readers, ends, strict=True):
            self.origins[(name, *reader)] = end
            if reader[0] == HOST:
                self.edges.append(Edge(*end, HOST, "", shape, lanes, bits))

    def _feed(self, stage: Stage, port: str) -> None:
        source = self.network.sources[stage.name, port]
        name, out_port = self.origins[source, stage.name, port]
        shape = in_shape(stage, port)
        made = self.folded.get(source)
        lanes, bits = (lanes_out(made), bits_out(made)) if made else (self._first_lanes(), 8)
        for after in _steps(lanes, lanes_in(stage, port)):
            adapter = Adapter(f"{stage.name}_{port}_{lanes}to{after}", shape, shape, lanes, after, bits)
            self.edges.append(Edge(name, out_port, adapter.name, "x", shape, lanes, bits))
            self.stages.append(adapter)
            name, out_port, lanes = adapter.name, "y", after
        self.edges.append(Edge(name, out_port, stage.name, port, shape, lanes, bits))


def _steps(lanes: int, wanted: int) -> Iterator[int]:
    """The widths that a stream takes on the way from `lanes` to `wanted`."""
    common = math.gcd(lanes, wanted)
    if lanes == wanted:
        return
    if common not in (lanes, wanted):
        yield common
    yield wanted


def _chosen(stage: Stage, choice: Choice) -> Stage:
    if isinstance(stage, Convolution):
        return folded(stage, choice.folding, choice.products or stage.products)
    return dataclasses.replace(stage, lanes=choice.lanes)
