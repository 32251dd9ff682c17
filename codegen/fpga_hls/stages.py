"""The stages of a streaming accelerator, as plain values; what runs between them says `graph`.

A convolution makes its output pixels in raster order and, for each one, `pe` channels at a time; these take

    cycles_per_group = (taps of the kernel / folding.taps) * (C_in / folding.simd)      C_in is 1 for a depthwise one

cycles, in each of which simd * taps * pe products are added. In cycle t * (C_in / simd) + c the products of the taps
t * folding.taps ... (numbered row after row over the kernel) and of the channels c * simd ... are added.

A stage that reads beats of several pixels makes several output pixels at a time, see `Folding.pixels`: all of them by
the same weights, which are read once.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from espalier.core.integer import AddSpec, GateArithmetic, LayerArithmetic, MeanPoolSpec

Shape = tuple[int, int, int]
"""Height, width, channels."""


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
    pixels: of a row in a beat of the input. 1, or a multiple of the stride along the row; the stage then makes pixels
    over stride output pixels at a time, and reads all input channels of whole rows of the kernel in a cycle.
    """

    simd: int = 1
    pe: int = 1
    taps: int = 1
    pixels: int = 1


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
    out_lanes: numbers that are requantized in a cycle, a divisor of sums_per_group; the lanes of the output.
    A residual comes by the port "residual", in the order and the lanes of the output.
    active, winners: of the input and of the output where their streams carry a part of the channels; weights, bias and
        multiplier are of all of them. The lists come by the ports of these names. simd and pe divide the granularity,
        and x_zero is 0 where there is a list of the input.
    has_pi: whether each winner has a factor of the requantization, uint8, by the port "pi", pe in a beat.
    is_rectified: whether int32 sums that are the output are limited to 0 and more.
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
    is_rectified: bool = False

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
    def raw_bias(self) -> np.ndarray:
        """int64 [C_out]: the bias of sums of x * weight, not (x - x_zero) * weight."""
        weights = self.weights.reshape(len(self.weights), -1).astype(np.int64)
        return self.bias.astype(np.int64) - self.arithmetic.x_zero * weights.sum(1)

    @property
    def is_depthwise(self) -> bool:
        """Whether each output channel reads one input channel, its own."""
        return self.kind == "depthwise"

    @property
    def is_pointwise(self) -> bool:
        """Whether every output pixel reads the input pixel in its place and nothing else."""
        return self.kernel == (1, 1) and self.stride == (1, 1)

    @cached_property
    def kernel(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.weights.shape[2], self.weights.shape[3]

    @property
    def pixels(self) -> int:
        """Of a beat of the input."""
        return self.folding.pixels

    @cached_property
    def out_pixels(self) -> int:
        """Neighbours in a row that are computed at a time."""
        return pixels_at_a_time(self)

    @cached_property
    def in_lanes(self) -> int:
        """Numbers of a beat of the input."""
        if self.pixels > 1:
            return self.pixels * self.in_shape[2]
        return self.folding.pe if self.is_depthwise else self.folding.simd

    @cached_property
    def cycles_per_group(self) -> int:
        """Cycles in which the sums of `folding.pe` channels of `out_pixels` pixels are made."""
        channels = 1 if self.is_depthwise else self.in_shape[2] // self.folding.simd
        return math.prod(self.kernel) // self.folding.taps * channels

    @property
    def groups(self) -> int:
        """Groups of `folding.pe` output channels of a frame."""
        return self.out_shape[2] // self.folding.pe

    @cached_property
    def sums_per_group(self) -> int:
        """Sums that end in the same cycle."""
        return self.out_pixels * self.folding.pe

    @cached_property
    def weight_words(self) -> tuple[int, int]:
        """(groups of the whole output, cycles of a group over the whole input): how its weights are stored."""
        cycles = self.cycles_per_group * self.channels_in // self.in_shape[2]
        return self.channels_out // self.folding.pe, cycles

    @cached_property
    def out_lanes(self) -> int:
        """The fewest numbers a cycle that keep up with the sums, divide them, and are a beat, see `is_beat`."""
        most, row = self.sums_per_group, (1, self.out_pixels, self.out_shape[2])
        least = -(-most // self.cycles_per_group)
        return next(lanes for lanes in range(least, most + 1) if most % lanes == 0 and is_beat(row, lanes))

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

    @cached_property
    def products_per_cycle(self) -> int:
        """Multipliers, or what stands for them."""
        return self.sums_per_group * self.folding.taps * (1 if self.is_depthwise else self.folding.simd)

    @property
    def compute_cycles(self) -> int:
        """Cycles of the products of a frame."""
        return self.out_shape[0] * self.out_shape[1] // self.out_pixels * self.groups * self.cycles_per_group

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """The different weights."""
        return tuple(np.unique(self.weights).tolist())

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


def pixels_at_a_time(stage: Convolution | MaxPool) -> int:
    """Output pixels that a beat of the input advances the windows by, see `Folding.pixels`."""
    return 1 if stage.pixels == 1 else stage.pixels // stage.stride[1]


def reads_pixels(stage: Stage) -> bool:
    """Whether it has a line buffer of beats of several pixels."""
    return isinstance(stage, Convolution | MaxPool) and stage.pixels > 1


def pixels_of(shape: Shape, lanes: int) -> int:
    """Of a beat of so many numbers."""
    return max(lanes // shape[2], 1)


def is_beat(shape: Shape, lanes: int) -> bool:
    """Whether the numbers of a tensor come in beats of `lanes`: a part of the channels of a pixel, or all those of some
    neighbours, which divide the row.
    """
    pixels, channels = pixels_of(shape, lanes), shape[2]
    return channels % lanes == 0 if pixels == 1 else lanes == pixels * channels and shape[1] % pixels == 0


def folded(stage: Convolution, folding: Folding, products: Products) -> Convolution:
    """The same convolution, computed otherwise; its sums are as wide as they were."""
    result = dataclasses.replace(stage, folding=folding, products=products)
    result.__dict__.update(sum_bits=stage.sum_bits, levels=stage.levels)  # all weights would be read again
    return result


@dataclass(frozen=True, eq=False)
class MaxPool(Stage):
    """The greatest number of each window; padding holds 0. The window may not leave the padded image.

    lanes: of the input: channels of a pixel, or all those of several, which are a multiple of the stride along the row,
        as in `Folding`.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    lanes: int = 1

    @property
    def pixels(self) -> int:
        """Of a beat of the input."""
        return pixels_of(self.in_shape, self.lanes)

    @property
    def out_pixels(self) -> int:
        """Of a beat of the output."""
        return pixels_at_a_time(self)

    @property
    def out_lanes(self) -> int:
        """Of the output."""
        return self.lanes if self.pixels == 1 else self.out_pixels * self.out_shape[2]


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
    """Beats of `in_lanes` numbers to beats of `out_lanes`; one divides the other, both are beats, see `is_beat`."""

    in_lanes: int = 1
    out_lanes: int = 1
    bits: int = 8
