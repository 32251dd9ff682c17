"""Stages without streams: what a network is before its stages are folded, and how a graph is made of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .graph import HOST, Edge, StreamGraph
from .ports import bits_out, in_shape, lanes_in, lanes_out, out_shape
from .stages import Adapter, Convolution, Folding, Fork, Products, Shape, Stage, folded

Port = tuple[str, str]
"""(stage, port)."""

INPUT: Port = (HOST, "")
"""What the host writes."""


@dataclass(frozen=True, eq=False)
class StageNetwork:
    """Stages in program order, and which port each port reads.

    sources: the port that is read, by the port that reads it. result: what the host reads.
    shape: of the input. layers: stage -> the layer of the model that it computes.
    """

    shape: Shape
    stages: tuple[Stage, ...]
    sources: Mapping[Port, Port]
    result: Port
    layers: Mapping[str, str]

    def readers(self, source: Port) -> list[Port]:
        """All that read a port; the host last."""
        found = [at for at, read in self.sources.items() if read == source]
        return [*found, (HOST, "")] if source == self.result else found


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
        self.origins: dict[Port, Port] = {}

    def graph(self) -> StreamGraph:
        self._fork(INPUT, self.network.shape, self._first_lanes(), 8)
        for stage in self.folded.values():
            for port in stage.in_ports:
                self._feed(stage, port)
            self.stages.append(stage)
            for port in stage.out_ports:
                sizes = out_shape(stage, port), lanes_out(stage, port), bits_out(stage, port)
                self._fork((stage.name, port), *sizes)
        return StreamGraph(tuple(self.stages), tuple(self.edges))

    def _first_lanes(self) -> int:
        """Of the input: what its readers take, or its greatest common divisor where they differ."""
        return math.gcd(*(lanes_in(self.folded[name], port) for name, port in self.network.readers(INPUT)))

    def _fork(self, source: Port, shape: Shape, lanes: int, bits: int) -> None:
        """Give each reader of a port a stream of its own; the host's is made at once."""
        readers, (name, port) = self.network.readers(source), source
        if len(readers) > 1:
            fork = Fork(f"{name or 'input'}{'' if port in ('', 'y') else f'_{port}'}_fork", shape, shape)
            fork = dataclasses.replace(fork, copies=len(readers), lanes=lanes, bits=bits)
            self.edges.append(Edge(name, port, fork.name, "x", shape, lanes, bits))
            self.stages.append(fork)
            ends = [(fork.name, copy) for copy in fork.out_ports]
        else:
            ends = [source]
        for reader, end in zip(readers, ends, strict=True):
            self.origins[reader] = end
            if reader[0] == HOST:
                self.edges.append(Edge(*end, HOST, "", shape, lanes, bits))

    def _feed(self, stage: Stage, port: str) -> None:
        source, out_port = self.network.sources[stage.name, port]
        made = self.folded.get(source)
        lanes, bits = (lanes_out(made, out_port), bits_out(made, out_port)) if made else (self._first_lanes(), 8)
        (name, out_port), shape = self.origins[stage.name, port], in_shape(stage, port)
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
