"""Channel gates: means, predictor and k winners in one launch, from sums that are there already.

CUDA C++ (templates/channel_gate.cuh), not TensorIR: the last block of a sample picks the winners inside the launch.
"""

from __future__ import annotations

from collections.abc import Sequence

from espalier.core.integer import GateArithmetic
from espalier.core.layers import ChannelGateSpec
from espalier.targets.gpu import Gpu

from ..kernel_objects import Variant
from .channel_sums import listed
from .conv2d import FLAG_BYTES, list_numbers

THREADS = 256
"""GATE_THREADS of the template."""
LEAST_CHANNELS = 8
"""Of a block: 32 bytes of a row of phi, which memory gives at a time."""


def variant_of(spec: ChannelGateSpec) -> Variant:
    """The compiled function for a gate."""
    gate, name = ("RealGate", "real") if spec.integer is None else ("ByteGate", "bytes")
    macros = (("ESPALIER_GATE", gate),)
    return Variant("channel_gate.cu", f"espalier_channel_gate_{name}", macros, kernel="channel_gate", threads=THREADS)


def parts_of(channels: int) -> list[int]:
    """Among how many blocks the channels of a sample may be shared out."""
    most = max(1, channels // LEAST_CHANNELS)
    return [1 << power for power in range(most.bit_length())]


def read_channels(spec: ChannelGateSpec, c_in: int) -> int:
    """Channels of x that are read."""
    active = listed(spec)
    return active.channels if active else c_in


def shared_bytes(read: int, channels: int, granularity: int) -> int:
    """Dynamic shared memory: a sum for each thread, then means and their channels; each group's score and choice."""
    return 4 * max(THREADS + 2 * read, 2 * (channels // granularity))


def fits(spec: ChannelGateSpec, c_in: int, channels: int, gpu: Gpu) -> bool:
    """Whether a block has room for the means of all channels that are read, and for the scores of all groups."""
    size = shared_bytes(read_channels(spec, c_in), channels, spec.granularity)
    return size + FLAG_BYTES <= gpu.block_shared_bytes


def gate_numbers(
    spec: ChannelGateSpec, x_shape: Sequence[int], channels: int, sums_shape: Sequence[int], parts: int
) -> list[int]:
    """The numbers that come before the tensors of a call, in the order of templates/channel_gate.cu."""
    batch, c_in, height, width = x_shape
    return [
        *(batch, height * width, *sums_shape[1:], c_in, channels, spec.granularity, spec.kept),
        *(int(spec.mode == "select"), parts),
        *list_numbers(listed(spec), c_in),
        *_integers(spec.integer),
        shared_bytes(read_channels(spec, c_in), channels, spec.granularity),
    ]


def _integers(one: GateArithmetic | None) -> list[int]:
    return [one.mean_multiplier, one.mean_shift, one.pi_multiplier, one.pi_shift] if one else [0] * 4


def output_shapes(spec: ChannelGateSpec, batch: int, channels: int) -> list[tuple[tuple[int, ...], str]]:
    """pi, winners and scratch space, each with its element type."""
    pi, sums = ("float32", "float32") if spec.integer is None else ("uint8", "int32")
    return [((batch, channels), pi), ((batch, spec.kept), "int32"), ((batch, channels), sums)]
