"""Small stream graphs with random weights, and what a graph computes, in numpy."""

from __future__ import annotations

import numpy as np

from espalier.codegen.fpga_hls.graph import HOST, Edge, StreamGraph
from espalier.codegen.fpga_hls.network import INPUT, StageNetwork
from espalier.codegen.fpga_hls.ports import bits_out, in_shape, lanes_in, lanes_out, out_shape
from espalier.codegen.fpga_hls.stage_options import levels_in_dsps
from espalier.codegen.fpga_hls.stages import (
    Adapter,
    Add,
    ChannelList,
    Convolution,
    Folding,
    Fork,
    Gate,
    MaxPool,
    MeanPool,
    Products,
    folded,
)
from espalier.core.integer import (
    AddSpec,
    GateArithmetic,
    LayerArithmetic,
    MeanPoolSpec,
    ResidualArithmetic,
    multipliers,
)

from . import nn
from .integers import rounded_quotient

LEVELS = {
    "dsp": lambda bits: np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1)),
    "lut": lambda bits: np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1)),
    "shift": lambda bits: np.array([0, *(s * 2**e for e in range(min(2 ** (bits - 2), 7)) for s in (-1, 1))]),
    "binary": lambda bits: np.array([-1, 1]),
}


class GraphBuilder:
    """Chains stages; adapters and FIFOs come by themselves. Tensors are named by the stage and the port they leave."""

    def __init__(self, *shape: int, seed: int = 0):
        self.random, self.shape = np.random.default_rng(seed), shape
        self.stages, self.edges, self.lists = [], [], {}

    def conv(self, source, channels, kernel=(3, 3), stride=(1, 1), padding=None, residual=None, **options):
        """The name of a new convolution. options: kind, folding, products, x_zero, is_raw, is_rectified, arithmetic,
        gate, active.

        gate, active: the names of gates, of its output and of its input; the zeros are then 0.
        """
        shape, gate, active = self._shape_of(source), options.get("gate"), options.get("active")
        winners, listed = (self._stage(one).winners if one else None for one in (gate, active))
        has_pi = bool(gate) and self._stage(gate).has_pi
        kind = options.get("kind") or ("dense" if shape[:2] == (1, 1) and kernel == (1, 1) else "window_conv")
        products, folding = options.get("products", Products()), options.get("folding", Folding())
        if padding is None:
            padding = (kernel[0] // 2, kernel[1] // 2, (kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
        reads = 1 if kind == "depthwise" else listed.channels if listed else shape[2]
        weights = self._weights((channels, reads, *kernel), products)
        scales = 40 / (74 * np.sqrt(np.mean(weights.astype(float) ** 2) + 1) * np.sqrt(weights[0].size))
        scales = scales * self.random.uniform(0.3, 1.5, channels) / (60 if has_pi else 1)
        multiplier, shift = multipliers(scales, 16 if has_pi else 24)
        arithmetic = options.get("arithmetic") or LayerArithmetic(
            x_zero=0 if listed else options.get("x_zero", 3),
            shift=shift,
            zero=0 if winners else 17,
            low=0 if winners else 17,
            residual=residual and ResidualArithmetic(3, 700_001, 400_000, 20, -150, 140),
        )
        rows = (shape[0] + padding[0] + padding[2] - kernel[0]) // stride[0] + 1
        columns = (shape[1] + padding[1] + padding[3] - kernel[1]) // stride[1] + 1
        stage = Convolution(
            f"conv{len(self.stages)}",
            shape,
            (rows, columns, winners.kept if winners else channels),
            kind,
            weights,
            self.random.integers(-3000, 3000, channels).astype(np.int32),
            None if options.get("is_raw") else multiplier,
            arithmetic,
            stride,
            padding,
            products,
            folding,
            listed,
            winners,
            has_pi,
            options.get("is_rectified", False),
        )
        lists = [*([residual] if residual else []), *([self._list(active)] if active else [])]
        lists += [self._list(gate)] if gate else []
        return self.add_stage(stage, source, *lists, *([(gate, "pi")] if has_pi else []))

    def gate(self, source, channels, kept, granularity, active=None, readers=1, **options):
        """The name of a gate of a layer with so many outputs; kept: groups. options: has_pi, boosts, lanes, x_zero.

        active: the gate of its input; readers: how many stages read its winners.
        """
        shape, listed = self._shape_of(source), self._stage(active).winners if active else None
        inputs, pixels = listed.channels if listed else shape[2], shape[0] * shape[1]
        phi = self.random.integers(-128, 128, (inputs, channels)).astype(np.int8)
        rho = self.random.integers(-20_000, 90_000, channels).astype(np.int32)
        mean, mean_shift = multipliers(np.array([1.6 / pixels]))
        pi, pi_shift = multipliers(np.array([1 / 500]))
        zero = 0 if listed else options.pop("x_zero", 3)
        arithmetic = GateArithmetic(zero, int(mean[0]), mean_shift, int(pi[0]), pi_shift)
        winners, name = ChannelList(channels, kept, granularity), f"gate{len(self.stages)}"
        stage = Gate(name, shape, (1, 1, kept), phi, rho, arithmetic, winners, listed, **options)
        self.add_stage(stage, source, *([self._list(active)] if active else []))
        self.lists[name] = [(name, "winners")]
        if readers > 1:
            fork = f"fork{len(self.stages)}"
            self.add_stage(Fork(fork, (1, 1, kept), (1, 1, kept), readers, 1, 16), (name, "winners"))
            self.lists[name] = [(fork, f"y{number}") for number in range(readers)]
        return name

    def _list(self, gate):
        """A port of the gate's winners that nobody has read yet."""
        return self.lists[gate].pop(0)

    def max_pool(self, source, kernel=(2, 2), stride=(2, 2), padding=(0, 0, 0, 0), lanes=1):
        height, width, channels = self._shape_of(source)
        rows = (height + padding[0] + padding[2] - kernel[0]) // stride[0] + 1
        columns = (width + padding[1] + padding[3] - kernel[1]) // stride[1] + 1
        shape = (height, width, channels)
        stage = MaxPool(f"pool{len(self.stages)}", shape, (rows, columns, channels), kernel, stride, padding, lanes)
        return self.add_stage(stage, source)

    def mean_pool(self, source, lanes=1):
        shape = self._shape_of(source)
        multiplier, shift = multipliers(np.array([1.1 / (shape[0] * shape[1])]))
        spec = MeanPoolSpec("mean", 3, int(multiplier[0]), shift, 5)
        return self.add_stage(MeanPool(f"mean{len(self.stages)}", shape, (1, 1, shape[2]), spec, lanes), source)

    def add(self, left, right, lanes=1):
        shape = self._shape_of(left)
        spec = AddSpec("add", 3, 9, 600_000, 500_001, 20, 3)
        return self.add_stage(Add(f"add{len(self.stages)}", shape, shape, spec, lanes), left, right)

    def fork(self, source, copies=2):
        """The ports of a fork of `source`, to be used as sources."""
        shape = self._shape_of(source)
        name = f"fork{len(self.stages)}"
        self.add_stage(Fork(name, shape, shape, copies, self._lanes(source)), source)
        return [(name, f"y{number}") for number in range(copies)]

    def graph(self, result, depth: int = 4096) -> StreamGraph:
        """All of it; the FIFOs hold `depth` beats."""
        self._connect(result, None, "")
        edges = [Edge(*edge, depth=depth) for edge in self.edges]
        return StreamGraph(tuple(self.stages), tuple(edges))

    def add_stage(self, stage, *sources):
        for source, port in zip(sources, stage.in_ports, strict=True):
            self._connect(source, stage, port)
        self.stages.append(stage)
        return stage.name

    def _connect(self, source, stage, port):
        if stage is not None and self._lanes(source) not in (None, lanes_in(stage, port)):
            lanes, shape = self._lanes(source), self._shape_of(source)
            adapter = Adapter(
                f"width{len(self.stages)}", shape, shape, lanes, lanes_in(stage, port), self._bits(source)
            )
            source = self.add_stage(adapter, source)
        name, out_port = self._port(source)
        lanes = lanes_in(stage, port) if stage else self._lanes(source)
        sink = stage.name if stage else HOST
        shape = in_shape(stage, port) if stage else self._shape_of(source)
        self.edges.append((name, out_port, sink, port if stage else "", shape, lanes, self._bits(source)))

    def _port(self, source):
        if source == HOST:
            return HOST, ""
        return source if isinstance(source, tuple) else (source, "y")

    def _stage(self, source):
        name = self._port(source)[0]
        return next((stage for stage in self.stages if stage.name == name), None)

    def _shape_of(self, source):
        return out_shape(self._stage(source), self._port(source)[1]) if self._stage(source) else self.shape

    def _lanes(self, source):
        return lanes_out(self._stage(source), self._port(source)[1]) if self._stage(source) else None

    def _bits(self, source):
        return bits_out(self._stage(source), self._port(source)[1]) if self._stage(source) else 8

    def _weights(self, shape, products):
        if products.kind == "focused":
            shifts = np.array([0, *(s * 2**e for e in range(3) for s in (-1, 1))])
            levels = np.unique([0, *(mean + step * one for mean, step in products.components for one in shifts)])
        else:
            levels = LEVELS[products.kind](products.weight_bits)
        return self.random.choice(levels, shape).astype(np.int8)


def one_conv(channels_in=4, channels=8, size=(6, 5), **options) -> StreamGraph:
    """One convolution; options as for `GraphBuilder.conv`."""
    builder = GraphBuilder(*size, channels_in)
    return builder.graph(builder.conv(HOST, channels, **options))


def two_layers() -> StreamGraph:
    """A 3x3 and a strided 3x3 convolution."""
    builder = GraphBuilder(8, 8, 3)
    first = builder.conv(HOST, 8, folding=Folding(3, 4, 3))
    return builder.graph(builder.conv(first, 4, stride=(2, 2), folding=Folding(4, 2, 9)))


def residual_network() -> StreamGraph:
    """Two residual blocks, the second with a shortcut of its own, then a mean and a dense layer."""
    builder = GraphBuilder(8, 8, 3)
    trunk, shortcut = builder.fork(builder.conv(HOST, 8, folding=Folding(3, 4, 3)))
    inner = builder.conv(trunk, 8, folding=Folding(4, 2, 9))
    joined = builder.conv(inner, 8, residual=shortcut, folding=Folding(4, 2, 9))
    trunk, shortcut = builder.fork(joined)
    inner = builder.conv(trunk, 16, stride=(2, 2), padding=(0, 0, 1, 1), folding=Folding(2, 4, 9))
    shortcut = builder.conv(shortcut, 16, kernel=(1, 1), stride=(2, 2), padding=(0, 0, 0, 0), folding=Folding(2, 2))
    joined = builder.conv(inner, 16, residual=shortcut, folding=Folding(4, 4, 9))
    mean = builder.mean_pool(joined)
    return builder.graph(builder.conv(mean, 10, kernel=(1, 1)))


def every_kind() -> StreamGraph:
    """Depthwise and pointwise, pooling, a sum of two streams, raw sums at the end."""
    builder = GraphBuilder(9, 7, 4)
    first = builder.max_pool(builder.conv(HOST, 8, folding=Folding(2, 2, 3)), (3, 3), (2, 2), (1, 1, 1, 1), 2)
    left, right = builder.fork(first)
    left = builder.conv(left, 8, kind="depthwise", folding=Folding(4, 4, 9))
    left = builder.conv(left, 8, kernel=(1, 1), folding=Folding(4, 2))
    joined = builder.add(left, right)
    return builder.graph(builder.conv(builder.mean_pool(joined), 6, kernel=(1, 1), is_raw=True))


def every_product() -> StreamGraph:
    """Convolutions of each kind of product, of odd sizes."""
    one = GraphBuilder(4, 5, 4)
    name = one.conv(HOST, 6, folding=Folding(2, 3))
    name = one.conv(name, 4, stride=(1, 2), folding=Folding(3, 4, 9), products=Products("lut", 5))
    name = one.conv(name, 8, kernel=(1, 1), folding=Folding(4, 8), products=Products("shift", 4))
    name = one.conv(name, 8, kind="depthwise", folding=Folding(2, 2, 3), products=Products("lut", 8))
    name = one.conv(name, 4, kernel=(1, 1), folding=Folding(8, 2), products=Products("binary", 1))
    focused = Products("focused", 5, ((-20, 2), (9, 1)))
    return one.graph(one.conv(name, 4, kernel=(1, 3), folding=Folding(2, 4), products=focused), depth=4)


def every_level_in_dsps() -> StreamGraph:
    """`every_product`, its shifts, recentralised shifts and signs multiplied as levels in DSP blocks."""
    graph = every_product()
    ways = [levels_in_dsps(stage) for stage in graph.stages]
    stages = (folded(one, one.folding, *way) if way else one for one, way in zip(graph.stages, ways, strict=True))
    return StreamGraph(tuple(stages), graph.edges)


def every_recentred() -> StreamGraph:
    """Recentralised shifts as shifts: sums that come at once and one by one, depthwise, with a residual, raw."""
    focused, one = Products("focused", 4, ((-20, 2), (9, 1))), GraphBuilder(4, 5, 4)
    trunk, beside = one.fork(one.conv(HOST, 8, folding=Folding(4, 4, 9), products=focused))
    name = one.conv(trunk, 8, folding=Folding(2, 4, 3), products=focused)
    name = one.conv(name, 8, kind="depthwise", folding=Folding(4, 4, 9), products=focused)
    name = one.conv(name, 8, residual=beside, folding=Folding(4, 8), products=Products("focused", 4, ((25, 3),)))
    options = {"kernel": (4, 5), "padding": (0, 0, 0, 0), "is_raw": True}
    return one.graph(one.conv(name, 4, folding=Folding(8, 2), products=focused, **options))


def gated_network(has_pi: bool = True, boosts: bool = True) -> StreamGraph:
    """A dense layer, two gated ones that skip on both sides, pooling, and a residual sum of layers that read a part."""
    builder = GraphBuilder(6, 7, 4)
    first, watched = builder.fork(builder.conv(HOST, 6, folding=Folding(2, 3, 3)))
    options = {"has_pi": has_pi, "boosts": boosts}
    one = builder.gate(watched, 16, 2, 4, readers=3, x_zero=17, lanes=2, **options)
    y = builder.conv(first, 16, gate=one, x_zero=17, folding=Folding(3, 4, 9))
    y, watched = builder.fork(builder.max_pool(y, lanes=2))
    two = builder.gate(watched, 12, 3, 2, active=one, readers=3, **options)
    y = builder.conv(y, 12, gate=two, active=one, folding=Folding(2, 2, 3))
    y, beside = builder.fork(y)
    beside = builder.conv(beside, 8, kernel=(1, 1), active=two, folding=Folding(2, 4))
    y = builder.conv(y, 8, active=two, residual=beside, folding=Folding(2, 2))
    return builder.graph(builder.conv(builder.mean_pool(y), 10, kernel=(1, 1), is_raw=True))


def channels_of_their_own(has_pi: bool = True) -> StreamGraph:
    """Gates behind each other whose groups are single channels: lists as long as FIFOs are not by themselves."""
    builder = GraphBuilder(4, 5, 4)
    y, gate = builder.conv(HOST, 6, folding=Folding(2, 3, 3)), None
    for channels, kept, readers in ((16, 12, 3), (14, 11, 3), (15, 10, 2)):
        y, watched = builder.fork(y)
        before = gate
        gate = builder.gate(watched, channels, kept, 1, active=before, readers=readers, has_pi=has_pi)
        y = builder.conv(y, channels, gate=gate, active=before, folding=Folding(1, 1, 9))
    return builder.graph(builder.conv(y, 5, kernel=(1, 1), active=gate, is_raw=True))


def several_pixels() -> StreamGraph:
    """Beats of several pixels in every stage that takes them: strides along rows and columns, padding that is no whole
    beat, rows that nothing reads, pixels that are computed together and alone, a residual of beats of several pixels.
    """
    builder = GraphBuilder(7, 8, 1)
    y = builder.conv(HOST, 2, folding=Folding(1, 2, 9, 4))
    y = builder.conv(y, 2, kind="depthwise", stride=(2, 2), padding=(0, 0, 1, 1), folding=Folding(2, 2, 3, 4))
    trunk, beside = builder.fork(y)
    y = builder.conv(trunk, 3, kernel=(1, 1), folding=Folding(2, 3, 1, 2), products=Products("shift", 4))
    y = builder.conv(y, 2, kernel=(3, 5), residual=beside, folding=Folding(3, 2, 5, 2))
    left, right = builder.fork(builder.max_pool(y, (3, 3), (1, 1), (1, 1, 1, 1), lanes=4))
    right = builder.conv(right, 2, kind="depthwise", folding=Folding(2, 2, 3, 4), products=Products("lut", 8))
    y = builder.add(left, right, lanes=8)
    options = {"stride": (1, 2), "padding": (2, 1, 0, 1), "products": Products("binary", 1)}
    y = builder.conv(y, 4, folding=Folding(2, 2, 3, 2), **options)
    y = builder.max_pool(y, (2, 2), (2, 2), lanes=8)
    return builder.graph(builder.conv(y, 6, folding=Folding(2, 1, 3), is_raw=True))


def rectified_sums() -> StreamGraph:
    """int32 sums of which those below 0 are 0, behind a convolution."""
    builder = GraphBuilder(5, 6, 3)
    y = builder.conv(HOST, 8, folding=Folding(3, 4, 3))
    return builder.graph(builder.conv(y, 5, folding=Folding(4, 5), is_raw=True, is_rectified=True))


def raw_pixels() -> StreamGraph:
    """int32 sums of two pixels in a beat, an odd number of channels multiplied in pairs and one over."""
    return one_conv(2, 3, (5, 6), padding=(1, 2, 1, 0), folding=Folding(2, 3, 9, 2), is_raw=True)


def branches() -> StreamGraph:
    """Convolutions of every kind beside each other, a sum of two streams, both poolings."""
    builder = GraphBuilder(8, 8, 2)
    left, right = builder.fork(builder.conv(HOST, 4))
    right = builder.conv(builder.conv(right, 4, kind="depthwise"), 4, kernel=(1, 1))
    pooled = builder.max_pool(builder.add(left, right))
    return builder.graph(builder.conv(builder.mean_pool(pooled), 3, kernel=(1, 1)))


def network_of(graph: StreamGraph) -> StageNetwork:
    """What a graph was made of, to be folded again."""
    passing = {stage.name: graph.into(stage)[0] for stage in graph.stages if isinstance(stage, Adapter | Fork)}

    def made_by(edge):
        while edge.source in passing:
            edge = passing[edge.source]
        return (edge.source, edge.source_port) if edge.source else INPUT

    stages = tuple(stage for stage in graph.stages if stage.name not in passing)
    sources = {(stage.name, edge.sink_port): made_by(edge) for stage in stages for edge in graph.into(stage)}
    return StageNetwork(graph.input.shape, stages, sources, made_by(graph.output), {})


def meaning(graph: StreamGraph, x: np.ndarray) -> np.ndarray:
    """What a graph computes of x uint8 [N, H, W, C]: uint8, or int32 sums, [N, H, W, C]."""
    values = {graph.input.name: x}
    for stage in graph.stages:
        given = {edge.sink_port: values[edge.name] for edge in graph.into(stage)}
        made = _gate(stage, **given) if isinstance(stage, Gate) else _stage(stage, **given)
        for edge in graph.out_of(stage):
            y = made[edge.source_port] if isinstance(made, dict) else made
            assert y.shape[1:] == edge.shape, stage.name
            values[edge.name] = y
    return values[graph.output.name]


def _stage(stage, x, other=None, **lists):
    if isinstance(stage, Convolution):
        return _convolution(stage, x, **lists)
    if isinstance(stage, MaxPool):
        return _max_pool(stage, x)
    one = getattr(stage, "arithmetic", None)
    if isinstance(stage, MeanPool):
        total = (x.astype(np.int64) - one.x_zero).sum((1, 2), keepdims=True) * one.multiplier
    elif isinstance(stage, Add):
        total = (x.astype(np.int64) - one.x_zero) * one.own + (other.astype(np.int64) - one.y_zero) * one.other
    else:
        return x
    return np.clip(rounded_quotient(total, one.shift) + one.zero, one.low, one.high).astype(np.uint8)


def _gate(stage, x, active=None):
    """The lists of each image."""
    one, wins = stage.arithmetic, stage.winners
    found = {"winners": [], "pi": []}
    for number, image in enumerate(x.astype(np.int64)):
        phi = stage.phi if active is None else stage.phi[_channels(active[number], stage.active.granularity)]
        sums = np.abs(image - one.x_zero).sum((0, 1))
        mean = np.minimum(rounded_quotient(sums * one.mean_multiplier, one.mean_shift), 255)
        saliency = np.maximum(mean @ phi.astype(np.int64) + stage.rho, 0)
        scores = saliency.reshape(-1, wins.granularity).sum(1)
        winners = np.sort(np.argsort(-scores, kind="stable")[: wins.count])
        pi = np.minimum(rounded_quotient(saliency * one.pi_multiplier, one.pi_shift), 255)
        pi = (pi if stage.boosts else np.ones_like(pi))[_channels(winners, wins.granularity)]
        found["winners"].append(winners.astype(np.uint16))
        found["pi"].append(pi.astype(np.uint8))
    return {port: np.stack(values)[:, None, None] for port, values in found.items()}


def _channels(groups, granularity):
    """The numbers of the channels of a list of groups."""
    return (np.asarray(groups, np.int64).reshape(-1, 1) * granularity + np.arange(granularity)).ravel()


def _convolution(stage, x, residual=None, active=None, winners=None, pi=None):
    """With lists image by image: the weights that they name."""
    if active is None and winners is None:
        return _products(stage, x, residual, stage.weights, stage.bias, stage.multiplier)
    images = []
    for number in range(len(x)):
        out = slice(None) if winners is None else _channels(winners[number], stage.winners.granularity)
        read = slice(None) if active is None else _channels(active[number], stage.active.granularity)
        multiplier = None if stage.multiplier is None else stage.multiplier[out].astype(np.int64)
        if pi is not None:
            multiplier = multiplier * pi[number].ravel()
        weights, bias = stage.weights[out][:, read], stage.bias[out]
        one, own = (given if given is None else given[number : number + 1] for given in (x, residual))
        images.append(_products(stage, one, own, weights, bias, multiplier))
    return np.concatenate(images)


def _products(stage, x, residual, weights, bias, multiplier):
    one = stage.arithmetic
    groups = len(weights) if stage.is_depthwise else 1
    centred = x.astype(np.int64).transpose(0, 3, 1, 2) - one.x_zero
    y = nn.conv2d(centred, weights.astype(np.int64), stage.stride, stage.padding, (1, 1), groups)
    y = y.astype(np.int64).transpose(0, 2, 3, 1) + bias
    assert np.abs(y).max() < 2 ** (stage.sum_bits - 1) + 1
    if multiplier is None:
        return (np.maximum(y, 0) if stage.is_rectified else y).astype(np.int32)
    y = rounded_quotient(y * multiplier, one.shift)
    if residual is not None:
        own, limits = y, one.residual
        if limits.low is not None:
            own = np.clip(own, limits.low, limits.high)
        other = residual.astype(np.int64) - limits.zero
        y = rounded_quotient(own * limits.own + other * limits.other, limits.shift)
    return np.clip(y + one.zero, one.low, one.high).astype(np.uint8)


def _max_pool(stage, x):
    top, left, bottom, right = stage.padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, stage.kernel, (1, 2))
    return windows[:, :: stage.stride[0], :: stage.stride[1]].max((-2, -1))
