"""Depthwise convolutions, dense or over the list of their input's gate.

CUDA C++ (templates/depthwise.cuh) as the other families, so that lists, gates and epilogues are the same code.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from espalier.core.layers import Conv2dSpec

from ..kernel_objects import Variant
from ..layout import GROUP, whole_groups
from .conv2d import ACTIVATIONS, FILL_RESTING, FLAGS, GATES, followed

THREADS, COLUMNS = 128, 2
"""DEPTHWISE_THREADS and DEPTHWISE_COLUMNS of the template."""
ELEMENTS = {"float32": "float32", "float16": "float16"}
"""Of x and the weight as stored, by the format of a layer; tfloat32 has nothing to gain without tensor cores."""
VARIANT = Variant("depthwise.cu", "espalier_depthwise", kernel="depthwise", threads=THREADS)


def fits(spec: Conv2dSpec, weight_shape: Sequence[int]) -> bool:
    """Whether every input channel has one output channel of its own, and the kernel has the format and the gate."""
    is_depthwise = isinstance(spec, Conv2dSpec) and spec.groups == weight_shape[0] > 1 and weight_shape[1] == 1
    listed = followed(spec.winners, GROUP)
    gated = spec.gate == "none" or (weight_shape[0] % GROUP == 0 and (spec.gate != "listed" or listed is not None))
    return is_depthwise and spec.integer is None and spec.format in ELEMENTS and gated


def depthwise_numbers(
    spec: Conv2dSpec,
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    out_shape: Sequence[int],
    given: Sequence[str],
    y_dtype: str,
    residual_dtype: str = "float32",
    fill_resting: bool = False,
) -> list[int | float]:
    """The numbers that come before the tensors of a call, in the order of templates/depthwise.cu."""
    winners = followed(spec.winners, GROUP)
    listed = [winners.count, winners.granularity, out_shape[1] // winners.granularity] if winners else [0, GROUP, 1]
    return [
        sum(FLAGS[role] for role in given) + (FILL_RESTING if fill_resting else 0),
        *(x_shape[0], *x_shape[2:], whole_groups(x_shape[1]), *out_shape[2:]),
        *(*weight_shape[2:], *spec.strides, *spec.padding[:2], *spec.dilation),
        *listed,
        int(spec.format == "float16"),
        *(GATES[spec.gate], ACTIVATIONS[spec.activation.kind]),
        *(int(residual_dtype == "float16"), int(y_dtype == "float16")),
        *(float(spec.activation.low), float(spec.activation.high)),
    ]


def blocks_of(out_shape: Sequence[int], channels: int) -> int:
    """Blocks of a launch that computes so many channels."""
    threads = out_shape[0] * out_shape[2] * -(-out_shape[3] // COLUMNS) * whole_groups(channels) // GROUP
    return -(-threads // THREADS)


def pack_depthwise(weight: np.ndarray, number_format: str) -> np.ndarray:
    """[C, 1, R, S] as the kernel reads it: [R * S, C], padded."""
    channels = weight.shape[0]
    flat = weight.reshape(channels, -1).T
    return np.pad(flat, ((0, 0), (0, whole_groups(channels) - channels))).astype(ELEMENTS[number_format])
