"""Sums over the pixels of each sample, channel by channel, that a gate reads where no convolution left them behind.

CUDA C++ (templates/channel_sums.cuh) as the other families, so that lists are the same code.
"""

from __future__ import annotations

from collections.abc import Sequence

from espalier.core.layers import ActiveList, ChannelGateSpec
from espalier.targets.gpu import Gpu

from ..kernel_objects import Variant
from ..layout import GROUP, Layout, whole_groups
from .conv2d import followed, list_numbers

THREADS = 256
"""SUMS_THREADS of the template."""
SHARED_BYTES = THREADS * GROUP * 4
DISTANCES = {"float16": "HalfDistances", "float32": "FloatDistances", "uint8": "ByteDistances"}
"""In the template, by the elements of x."""
MOST_SLOTS, BLOCKS_OF_AN_SM = 32, 4
"""Blocks of a sample, as the gate adds up what each of them leaves; and of an SM, so that some compute while others
wait for memory."""


def variant_of(x_dtype: str) -> Variant:
    """The compiled function for the elements of a gate's input."""
    macros = (("ESPALIER_DISTANCES", DISTANCES[x_dtype]),)
    common = {"kernel": "channel_sums", "threads": THREADS, "shared_bytes": SHARED_BYTES}
    return Variant("channel_sums.cu", f"espalier_channel_sums_{x_dtype}", macros, **common)


def slots_of(gpu: Gpu, batch: int, pixels: int) -> int:
    """Blocks of a sample."""
    return max(1, min(MOST_SLOTS, BLOCKS_OF_AN_SM * gpu.sms // batch, pixels))


def listed(spec: ChannelGateSpec) -> ActiveList | None:
    """The list of x's channels that is followed; without it all are read."""
    return followed(spec.active, GROUP)


def sums_numbers(spec: ChannelGateSpec, x_shape: Sequence[int], x_dtype: str, slots: int) -> list[int]:
    """The numbers that come before the tensors of a call, in the order of templates/channel_sums.cu."""
    batch, channels, height, width = x_shape
    return [
        *(batch, height * width, Layout(x_dtype).channels(channels), whole_groups(channels), slots),
        spec.integer.x_zero if spec.integer else 0,
        *list_numbers(listed(spec), channels),
    ]


def sums_shape(x_shape: Sequence[int], slots: int) -> tuple[int, int, int]:
    """Of the sums, those of a convolution included: [batch, slots, channels]."""
    return x_shape[0], slots, whole_groups(x_shape[1])
