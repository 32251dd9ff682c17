"""Channel gates: subsampling, predictor and k winners in one launch.

CUDA C++ (templates/channel_gate.cuh), not TensorIR: the blocks of a sample wait for each other inside the launch.
"""

from __future__ import annotations

import numpy as np

from espalier.core.integer import GateArithmetic
from espalier.core.layers import ActiveList, ChannelGateSpec
from espalier.targets.gpu import Gpu

from ..kernel_objects import Variant
from ..layout import GROUP, Layout
from .conv2d import followed

THREADS = 256
"""GATE_THREADS of the template."""
MOST_PARTS = 16
"""Blocks of a sample: more of them wait for each other longer than they save."""
COUNTERS = 3
"""Numbers of a sample that the blocks count in."""


def variant_of(spec: ChannelGateSpec) -> Variant:
    """The compiled function for a gate."""
    gate, name = ("RealGate", "real") if spec.integer is None else ("ByteGate", "bytes")
    macros = (("ESPALIER_GATE", gate),)
    return Variant("channel_gate.cu", f"espalier_channel_gate_{name}", macros, kernel="channel_gate", threads=THREADS)


def gate_parts(gpu: Gpu, batch: int, pixels: int) -> int:
    """Blocks of a sample; all blocks of the launch run at a time."""
    return max(1, min(MOST_PARTS, gpu.sms // batch, pixels))


def shared_bytes(c_in: int, channels: int, granularity: int) -> int:
    """Dynamic shared memory: sums of 8 channels for each thread, then the means, then each group's score and choice."""
    return 4 * max(THREADS * GROUP, c_in, 2 * (channels // granularity))


def gate_numbers(spec: ChannelGateSpec, x_shape, channels: int, x_dtype: str, parts: int) -> list[int]:
    """The numbers that come before the tensors of a call, in the order of templates/channel_gate.cu."""
    batch, c_in, height, width = x_shape
    active = followed_list(spec)
    listed = [active.count, active.granularity, c_in // active.granularity] if active else [0, GROUP, 1]
    return [
        *(batch, height * width, Layout(x_dtype).channels(c_in), c_in, channels, spec.granularity, spec.kept),
        *(int(spec.mode == "select"), int(x_dtype == "float16"), parts),
        *listed,
        *_integers(spec.integer),
        shared_bytes(c_in, channels, spec.granularity),
    ]


def followed_list(spec: ChannelGateSpec) -> ActiveList | None:
    """The list of x's channels that the kernel follows; without it all are read."""
    return followed(spec.active, GROUP)


def _integers(one: GateArithmetic | None) -> list[int]:
    return [one.x_zero, one.mean_multiplier, one.mean_shift, one.pi_multiplier, one.pi_shift] if one else [0] * 5


def output_shapes(
    spec: ChannelGateSpec, batch: int, c_in: int, channels: int, parts: int
) -> list[tuple[tuple[int, ...], str]]:
    """pi, winners and scratch space, each with its element type."""
    scratch = (batch, parts * c_in + channels)
    pi, sums = ("float32", "float32") if spec.integer is None else ("uint8", "int32")
    return [((batch, channels), pi), ((batch, spec.kept), "int32"), (scratch, sums)]


def pack_phi(phi: np.ndarray) -> np.ndarray:
    """[C_in, C_out] as the kernel reads it."""
    return np.ascontiguousarray(phi.T)
