"""Whether the fields of a stage fit together."""

from __future__ import annotations

import math

from espalier.core.errors import InvalidInputError

from .ports import NUMBER_BITS, lanes_in, lanes_out
from .stages import Adapter, Convolution, Gate, MaxPool, MeanPool, Shape, Stage, is_beat


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
        _check_pixels(stage)
    first = stage.out_ports[0]
    for shape, lanes in ((stage.in_shape, lanes_in(stage, "x")), (stage.out_shape, lanes_out(stage, first))):
        if isinstance(stage, Gate | MeanPool) or lanes < shape[2]:
            _require(stage, shape[2] % lanes == 0, f"{lanes} lanes for {shape[2]} channels", "are divisors of these")
        got = f"{lanes} lanes for rows of {shape[1]} pixels of {shape[2]} channels"
        _require(stage, is_beat(shape, lanes), got, "are all channels of a divisor of the pixels")


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
    plain = stage.multiplier is None or not stage.is_rectified
    _require(stage, plain, "rectified numbers of 8 bits", "are rectified sums, and limits of arithmetic")
    _check_lists(stage)
    if stage.pixels > 1:
        _check_pixels(stage)
        _check_all_channels(stage)


def _check_pixels(stage: Convolution | MaxPool) -> None:
    pixels, row, step = stage.pixels, stage.in_shape[1], stage.stride[1]
    _require(stage, row % pixels == 0, f"{pixels} pixels of a row of {row}", "are divisors of it")
    if pixels > 1:
        _require(stage, pixels % step == 0, f"{pixels} pixels at a stride of {step}", "are multiples of it")
        made, row = stage.out_pixels, stage.out_shape[1]
        _require(stage, row % made == 0, f"{made} output pixels at a time of a row of {row}", "are divisors of it")


def _check_all_channels(stage: Convolution) -> None:
    """What a convolution that reads beats of several pixels computes in a cycle."""
    fold, some = stage.folding, f"with {stage.pixels} pixels in a beat"
    plain = not stage.is_listed and stage.products.kind != "focused"
    _require(stage, plain, f"lists or recentralised shifts {some}", "are neither, or one pixel")
    if not stage.is_depthwise:
        _require(stage, fold.simd == stage.in_shape[2], f"simd {fold.simd} {some}", f"is {stage.in_shape[2]}")
    if stage.is_depthwise or stage.out_pixels > 1:
        _require(stage, fold.pe == stage.out_shape[2], f"pe {fold.pe} {some}", f"is {stage.out_shape[2]}")
    _require(stage, fold.taps % stage.kernel[1] == 0, f"taps {fold.taps} {some}", "are whole rows of the kernel")


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
