"""Depthwise convolutions, dense or over the list of their input's gate.

CUDA C++ (templates/depthwise.cuh) as the other families, so that lists, gates and epilogues are the same code.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from espalier.core.layers import Conv2dSpec

from ..kernel_objects import Variant
from ..layout import GROUP, Layout, whole_groups
from .conv2d import followed
from .epilogue import flags_of

THREADS, COLUMNS = 128, 2
"""DEPTHWISE_THREADS and DEPTHWISE_COLUMNS of the template."""
ELEMENTS = {"float32": "float32", "float16": "float16", "int8": "uint8"}
"""Of x as stored, by the format of a layer; tfloat32 has nothing to gain without tensor cores."""


def variant_of(spec: Conv2dSpec) -> Variant:
    """The compiled function for a layer."""
    taps, name = ("RealTaps", "real") if spec.integer is None else ("ByteTaps", "bytes")
    macros = (("ESPALIER_TAPS", taps),)
    return Variant("depthwise.cu", f"espalier_depthwise_{name}", macros, kernel="depthwise", threads=THREADS)


def fits(spec: Conv2dSpec, weight_shape: Sequence[int]) -> bool:
    """Whether every input channel has one output channel of its own, and the kernel has the format and the gate."""
    is_depthwise = isinstance(spec, Conv2dSpec) and spec.groups == weight_shape[0] > 1 and weight_shape[1] == 1
    listed = followed(spec.winners, GROUP)
    gated = spec.gate == "none" or (weight_shape[0] % GROUP == 0 and (spec.gate != "listed" or listed is not None))
    return is_depthwise and spec.format in ELEMENTS and gated


def depthwise_numbers(
    spec: Conv2dSpec,
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    out_shape: Sequence[int],
    given: Sequence[str],
    end: Sequence[int | float],
    fill_resting: bool = False,
) -> list[int | float]:
    """The numbers that come before the tensors of a call, in the order of templates/depthwise.cu.

    given, end, fill_resting: as of `conv2d.call_numbers`.
    """
    winners = followed(spec.winners, GROUP)
    listed = [winners.count, winners.granularity, out_shape[1] // winners.granularity] if winners else [0, GROUP, 1]
    x_channels = Layout(ELEMENTS[spec.format]).channels(x_shape[1])
    return [
        flags_of(given, fill_resting),
        *(x_shape[0], *x_shape[2:], x_channels, whole_groups(x_shape[1]), *out_shape[2:]),
        *(*weight_shape[2:], *spec.strides, *spec.padding[:2], *spec.dilation),
        *listed,
        *(int(spec.format == "float16"), spec.integer.x_zero if spec.integer else 0),
        *end,
    ]


def blocks_of(out_shape: Sequence[int], channels: int) -> int:
    """Blocks of a launch that computes so many channels."""
    threads = out_shape[0] * out_shape[2] * -(-out_shape[3] // COLUMNS) * whole_groups(channels) // GROUP
    return -(-threads // THREADS)


def pack_depthwise(weight: np.ndarray, number_format: str) -> np.ndarray:
    """[C, 1, R, S] as the kernel reads it: [R * S, C], padded."""
    channels = weight.shape[0]
    flat = weight.reshape(channels, -1).T
    element = "int8" if number_format == "int8" else ELEMENTS[number_format]
    return np.pad(flat, ((0, 0), (0, whole_groups(channels) - channels))).astype(element)
