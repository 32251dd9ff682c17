"""The dataflow graph of a streaming accelerator, as plain values: stages, and the streams between them.

A stream carries one tensor [H, W, C] of unsigned numbers per frame, pixel after pixel in raster order. A beat holds
`lanes` consecutive channels of a pixel, the lowest channel in the lowest bits, so that a frame is H * W * C / lanes
beats. All streams are ready/valid; a stage reads each beat once.

A convolution makes its output pixels in raster order and, for each, `pe` channels at a time; these take

    cycles_per_group = (taps of the kernel / folding.taps) * (C_in / folding.simd)      C_in is 1 for a depthwise one

cycles, in each of which simd * taps * pe products are added. In cycle t * (C_in / simd) + c the products of the taps
t * folding.taps ... (numbered row after row over the kernel) and of the channels c * simd ... are added.

Of a tensor behind a channel gate the stream carries the winners alone, in the order of their numbers: how many they are
is known, so that its shape and every stage's cycles are static. Which ones they are comes, once for each frame, by a
stream of group numbers from the gate to each stage that reads weights by them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from espalier.core.errors import InvalidInputError
from espalier.core.integer import AddSpec, GateArithmetic, LayerArithmetic, MeanPoolSpec

HOST = ""
"""In an edge, the place of a stage's name: the host writes the graph's input and reads its output."""

Shape = tuple[int, int, int]
"""Height, width, channels."""

NUMBER_BITS = 16
"""Of the number of a group of channels in a list."""


@dataclass(frozen=True)
class ChannelList:
    """The channels of a tensor that a frame has: `count` groups of `granularity` neighbours, of `channels` in all."""

    channels: int
    count: int
    granularity: int

    @property
    def kept(self) -> int:
        """Channels that the stream carries."""
        return self.count * self.granularity


@dataclass(frozen=True)
class Folding:
    """How much of a stage is computed in a cycle.

    simd: input channels. pe: output channels. taps: of the kernel; 1, one row of it, or all. A depthwise stage has as
    many input as output channels in a cycle: its simd is its pe.
    """

    simd: int = 1
    pe: int = 1
    taps: int = 1


@dataclass(frozen=True)
class Products:
    """How a stage multiplies.

    kind: "dsp" (two products with one input in a DSP48), "lut" (multipliers of fabric), "shift" (weights 0 and
        +-2^e), "focused" (weights 0 and mean + step * s * 2^e for one of two components), "binary" (weights -1 and 1).
    weight_bits: of a weight as it is stored; two's complement of that many bits for "dsp" and "lut".
    components: (mean, step) of each component for "focused".
    """

    kind: str = "dsp"
    weight_bits: int = 8
    components: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, eq=False)
class Stage:
    """What all stages have. in_shape, out_shape: of the tensors that come in by the port "x" and go out."""

    name: str
    in_shape: Shape
    out_shape: Shape

    @property
    def in_ports(self) -> tuple[str, ...]:
        """Where streams come in."""
        return ("x",)

    @property
    def out_ports(self) -> tuple[str, ...]:
        """Where streams go out."""
        return ("y",)


@dataclass(frozen=True, eq=False)
class Convolution(Stage):
    """A convolution, depthwise convolution or dense product with its requantization and, where it has one, a residual.

    kind: "window_conv", "depthwise" or "dense" (a 1x1 convolution of a 1x1 image).
    weights: int8 [C_out, C_in, KH, KW]; [C, 1, KH, KW] of a depthwise one. bias: int32 [C_out].
    multiplier: int32 [C_out], each from 0 and below 2^24; None for an output that is the int32 sums themselves.
    arithmetic: see `core.integer.LayerArithmetic`; the sums are of (x - x_zero) * weight + bias.
    stride: rows, columns. padding: top, left, bottom, right, of pixels that hold x_zero.
    buffer_rows: rows of the input that the line buffer holds, at least KH + stride so that the next ones can come in
        while a row is computed. A 1x1 convolution of stride 1 sees its image as H * W rows of one pixel.
    out_lanes: channels that are requantized in a cycle, a divisor of folding.pe; the lanes of the output.
    A residual comes by the port "residual", in the order and the lanes of the output.
    active, winners: of the input and of the output where their streams carry a part of the channels; weights, bias and
        multiplier are of all of them. The lists come by the ports of these names. simd and pe divide the granularity,
        and x_zero is 0 where there is a list of the input.
    has_pi: whether each winner has a factor of the requantization, uint8, by the port "pi", pe in a beat.
    """

    kind: str
    weights: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray | None
    arithmetic: LayerArithmetic
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    products: Products = Products()
    folding: Folding = Folding()
    active: ChannelList | None = None
    winners: ChannelList | None = None
    has_pi: bool = False

    @property
    def in_ports(self) -> tuple[str, ...]:
        """A residual and each list have ports of their own."""
        more = {
            "residual": self.arithmetic.residual,
            "active": self.active,
            "winners": self.winners,
            "pi": self.has_pi,
        }
        return ("x", *(port for port, wanted in more.items() if wanted))

    @property
    def is_listed(self) -> bool:
        """Whether its weights are read by lists."""
        return self.active is not None or self.winners is not None

    @property
    def channels_in(self) -> int:
        """Of the whole input."""
        return self.active.channels if self.active else self.in_shape[2]

    @property
    def channels_out(self) -> int:
        """Of the whole output."""
        return self.winners.channels if self.winners else self.out_shape[2]

    @property
    def is_depthwise(self) -> bool:
        """Whether each output channel reads one input channel, its own."""
        return self.kind == "depthwise"

    @property
    def is_pointwise(self) -> bool:
        """Whether every output pixel reads the input pixel in its place and nothing else."""
        return self.kernel == (1, 1) and self.stride == (1, 1)

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.weights.shape[2], self.weights.shape[3]

    @property
    def in_lanes(self) -> int:
        """Channels of a beat of the input."""
        return self.folding.pe if self.is_depthwise else self.folding.simd

    @property
    def cycles_per_group(self) -> int:
        """Cycles in which the sums of `folding.pe` channels of a pixel are made."""
        channels = 1 if self.is_depthwise else self.in_shape[2] // self.folding.simd
        return math.prod(self.kernel) // self.folding.taps * channels

    @property
    def groups(self) -> int:
        """Groups of `folding.pe` output channels of a frame."""
        return self.out_shape[2] // self.folding.pe

    @property
    def weight_words(self) -> tuple[int, int]:
        """(groups of the whole output, cycles of a group over the whole input): how its weights are stored."""
        cycles = self.cycles_per_group * self.channels_in // self.in_shape[2]
        return self.channels_out // self.folding.pe, cycles

    @property
    def out_lanes(self) -> int:
        """The fewest channels a cycle that keep up with the sums, and divide `folding.pe`."""
        least = -(-self.folding.pe // self.cycles_per_group)
        return next(lanes for lanes in range(least, self.folding.pe + 1) if self.folding.pe % lanes == 0)

    @property
    def buffer_rows(self) -> int:
        """See above."""
        return self.kernel[0] + self.stride[0]

    @property
    def out_bits(self) -> int:
        """Of one number of the output; sums are two's complement."""
        return 32 if self.multiplier is None else 8

    @property
    def macs(self) -> int:
        """Products of a frame."""
        kept = self.out_shape[2] * (1 if self.is_depthwise else self.in_shape[2])
        return self.out_shape[0] * self.out_shape[1] * kept * math.prod(self.kernel)

    @property
    def products_per_cycle(self) -> int:
        """Multipliers, or what stands for them."""
        return self.folding.pe * self.folding.taps * (1 if self.is_depthwise else self.folding.simd)

    @property
    def compute_cycles(self) -> int:
        """Cycles of the products of a frame."""
        return self.out_shape[0] * self.out_shape[1] * self.groups * self.cycles_per_group

    @cached_property
    def sum_bits(self) -> int:
        """Bits of two's complement that hold every partial sum, started from the bias with x_zero taken off the input.

        Partial sums in any order: bounded by the sums of the positive and of the negative products.
        """
        x = self.arithmetic.x_zero
        weights = self.weights.reshape(len(self.weights), -1).astype(np.int64)
        up, down = np.maximum(weights, 0).sum(1), np.maximum(-weights, 0).sum(1)
        bias = self.bias.astype(np.int64)
        high = (np.maximum(bias, 0) + up * (255 - x) + down * x).max()
        low = (np.minimum(bias, 0) - up * x - down * (255 - x)).min()
        return max(int(high), int(-low) - 1, 0).bit_length() + 1


def folded(stage: Convolution, folding: Folding, products: Products) -> Convolution:
    """The same convolution, computed otherwise; its sums are as wide as they were."""
    result = dataclasses.replace(stage, folding=folding, products=products)
    result.__dict__["sum_bits"] = stage.sum_bits  # all weights would be read again
    return result


@dataclass(frozen=True, eq=False)
class MaxPool(Stage):
    """The greatest number of each window; padding holds 0. The window may not leave the padded image."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    lanes: int = 1


@dataclass(frozen=True, eq=False)
class MeanPool(Stage):
    """The mean over all pixels, see `core.integer.MeanPoolSpec`."""

    arithmetic: MeanPoolSpec
    lanes: int = 1


@dataclass(frozen=True, eq=False)
class Add(Stage):
    """The sum of two streams of one shape, see `core.integer.AddSpec`: "other" is its y."""

    arithmetic: AddSpec
    lanes: int = 1

    @property
    def in_ports(self) -> tuple[str, ...]:
        """Both have the same lanes."""
        return ("x", "other")


@dataclass(frozen=True, eq=False)
class Gate(Stage):
    """The channel gate of a layer, see `core.layers.ChannelGateSpec`: it reads the layer's input and gives two lists.

    phi: int8 [C_in, C_out], rho: int32 [C_out], over all channels. winners: what it keeps of the layer's output.
    active: of its input, by the port "active". has_pi: whether it gives the factors of the winners by the port "pi",
    one in a beat; boosts: whether they are their saliencies, or 1.
    out_shape: of the list of group numbers that leaves by the port "winners", (1, 1, winners.count).
    """

    phi: np.ndarray
    rho: np.ndarray
    arithmetic: GateArithmetic
    winners: ChannelList
    active: ChannelList | None = None
    has_pi: bool = False
    boosts: bool = True
    lanes: int = 1

    @property
    def in_ports(self) -> tuple[str, ...]:
        """The list of its input has a port of its own."""
        return ("x", "active") if self.active else ("x",)

    @property
    def out_ports(self) -> tuple[str, ...]:
        """See above."""
        return ("winners", "pi") if self.has_pi else ("winners",)

    @property
    def groups(self) -> int:
        """Groups that compete."""
        return self.winners.channels // self.winners.granularity


@dataclass(frozen=True, eq=False)
class Fork(Stage):
    """Copies of one stream, by the ports "y0", "y1", ...; a beat goes in when every copy of the one before is taken."""

    copies: int = 2
    lanes: int = 1
    bits: int = 8

    @property
    def out_ports(self) -> tuple[str, ...]:
        """One for each copy."""
        return tuple(f"y{number}" for number in range(self.copies))


@dataclass(frozen=True, eq=False)
class Adapter(Stage):
    """Beats of `in_lanes` channels to beats of `out_lanes`; one divides the other, both divide the channels."""

    in_lanes: int = 1
    out_lanes: int = 1
    bits: int = 8


@dataclass(frozen=True)
class Edge:
    """A stream from a stage's port to another's.

    source, sink: names of stages, HOST at the edges of the graph. lanes: channels of a beat. bits: of a channel.
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


def in_shape(stage: Stage, port: str) -> Shape:
    """Of the tensor that comes by a port."""
    if port in ("active", "winners"):
        return (1, 1, getattr(stage, port).count)
    if port == "pi":
        return (1, 1, stage.winners.kept)
    return stage.out_shape if port == "residual" else stage.in_shape


def out_shape(stage: Stage, port: str) -> Shape:
    """Of the tensor that leaves by a port."""
    return (1, 1, stage.winners.kept) if port == "pi" else stage.out_shape


def lanes_in(stage: Stage, port: str) -> int:
    """Channels of a beat of the stream that comes by a port."""
    if port in ("active", "winners"):
        return 1
    if isinstance(stage, Convolution):
        return {"residual": stage.out_lanes, "pi": stage.folding.pe}.get(port, stage.in_lanes)
    return stage.in_lanes if isinstance(stage, Adapter) else stage.lanes


def lanes_out(stage: Stage, port: str = "y") -> int:
    """Channels of a beat of what leaves by a port."""
    if isinstance(stage, Gate):
        return 1
    return stage.out_lanes if isinstance(stage, Convolution | Adapter) else stage.lanes


def bits_in(stage: Stage, port: str = "x") -> int:
    """Of a number that comes by a port."""
    if port in ("active", "winners"):
        return NUMBER_BITS
    return stage.bits if isinstance(stage, Fork | Adapter) else 8


def bits_out(stage: Stage, port: str = "y") -> int:
    """Of a number that leaves by a port."""
    if isinstance(stage, Convolution):
        return stage.out_bits
    if isinstance(stage, Gate):
        return NUMBER_BITS if port == "winners" else 8
    return bits_in(stage)


def check_stage(stage: Stage) -> None:
    """Raise InvalidInputError if the fields of a stage do not fit together."""
    if isinstance(stage, Convolution):
        _check_convolution(stage)
    elif isinstance(stage, Gate):
        _check_gate(stage)
    elif isinstance(stage, Adapter):
        few, many = sorted((stage.in_lanes, stage.out_lanes))
        _require(stage, many % few == 0, f"lanes {stage.in_lanes} to {stage.out_lanes}", "are multiples of each other")
    if isinstance(stage, MaxPool):
        _require(stage, stage.out_shape == _pooled(stage), f"an output {stage.out_shape}", f"is {_pooled(stage)}")
    first = stage.out_ports[0]
    for shape, lanes in ((stage.in_shape, lanes_in(stage, "x")), (stage.out_shape, lanes_out(stage, first))):
        _require(stage, shape[2] % lanes == 0, f"{lanes} lanes for {shape[2]} channels", "are divisors of these")


def _check_convolution(stage: Convolution) -> None:
    fold, channels = stage.folding, stage.weights.shape[1]
    expected = (*(_windows(stage)), stage.winners.kept if stage.winners else len(stage.weights))
    _require(stage, stage.out_shape == expected, f"an output {stage.out_shape}", f"is {expected}")
    reads = 1 if stage.is_depthwise else stage.channels_in
    _require(stage, channels == reads, f"weights of {channels} input channels", f"is {reads}")
    _require(stage, stage.out_shape[2] % fold.pe == 0, f"pe {fold.pe}", f"are divisors of {stage.out_shape[2]}")
    if not stage.is_depthwise:
        read = stage.in_shape[2]
        _require(stage, read % fold.simd == 0, f"simd {fold.simd}", f"are divisors of {read}")
    possible = {1, stage.kernel[1], math.prod(stage.kernel)}
    _require(stage, fold.taps in possible, f"taps {fold.taps}", f"are {sorted(possible)}")
    _check_lists(stage)


def _check_lists(stage: Convolution) -> None:
    plain = (
        not stage.is_depthwise
        and stage.products.kind != "focused"
        and not (stage.winners and "residual" in stage.in_ports)
    )
    _require(stage, plain or not stage.is_listed, "lists of channels", "are dense inputs and outputs")
    _require(stage, stage.winners is not None or not stage.has_pi, "a pi without a list", "are both")
    for one, parts, name in ((stage.winners, stage.folding.pe, "pe"), (stage.active, stage.folding.simd, "simd")):
        if one is not None:
            grain = one.granularity
            _require(stage, grain % parts == 0, f"{name} {parts} for groups of {grain}", "are divisors of these")
    if stage.active is not None:
        zero = stage.arithmetic.x_zero
        _require(stage, zero == 0, f"a zero point {zero} of an input that is listed", "is 0")
        kept = stage.active.kept
        _require(stage, stage.in_shape[2] == kept, f"{stage.in_shape[2]} channels of a list of {kept}", "are as many")


def _check_gate(stage: Gate) -> None:
    channels = stage.active.channels if stage.active else stage.in_shape[2]
    wanted = (channels, stage.winners.channels)
    _require(stage, stage.phi.shape == wanted, f"phi {stage.phi.shape}", f"is {wanted}")
    given, count = stage.out_shape, (1, 1, stage.winners.count)
    _require(stage, given == count, f"an output {given}", f"is {count}")
    fits = stage.groups < 1 << NUMBER_BITS
    _require(stage, fits, f"{stage.groups} groups of channels", f"are fewer than 2^{NUMBER_BITS}")


def _windows(stage: Convolution | MaxPool) -> tuple[int, int]:
    (kh, kw), (sh, sw), (top, left, bottom, right) = stage.kernel, stage.stride, stage.padding
    return (stage.in_shape[0] + top + bottom - kh) // sh + 1, (stage.in_shape[1] + left + right - kw) // sw + 1


def _pooled(stage: MaxPool) -> Shape:
    return (*_windows(stage), stage.in_shape[2])


def _require(stage: Stage, holds: bool, got: str, accepted: str) -> None:
    if not holds:
        raise InvalidInputError(f"stage {stage.name}: got {got}, accepted {accepted}")
