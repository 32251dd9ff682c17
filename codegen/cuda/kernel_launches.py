"""The launches of each kernel family, with the work that they do and the bytes that they cannot avoid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from espalier.core.layers import ChannelGateSpec, Conv2dSpec, DenseSpec, LayerSpec
from espalier.targets.gpu import Gpu

from .kernels import channel_gate, channel_sums, conv2d, dense_codebook, depthwise
from .kernels.choose_schedule import (
    BLOCK_CLOCKS,
    predicted_codebook_s,
    predicted_gate_s,
    predicted_reading_s,
    predicted_s,
)
from .launches import KernelLaunch
from .layout import Layout

SUM_BYTES = 4
"""Of a sum that a gate reads."""


def launch_of(
    spec: LayerSpec, problem: conv2d.Problem, schedule: conv2d.Schedule, y_dtype: str, gpu: Gpu
) -> KernelLaunch:
    """The launch of a layer's kernel, with the work that it does and the bytes that it cannot avoid."""
    tile, numbers = schedule.tile, problem.numbers
    across, down = problem.tiles(tile)
    batch, _, rows, columns = problem.out_shape
    pixels = batch * rows * columns
    read = problem.active.channels if problem.active else problem.x_chunks * numbers.chunk
    macs = pixels * problem.columns * problem.taps[0] * problem.taps[1] * read
    issued = across * down * tile.rows * tile.columns * problem.depth * conv2d.DEPTH_CHUNKS * numbers.chunk
    written = pixels * problem.columns * np.dtype(y_dtype).itemsize * (2 if "residual" in spec.roles else 1)
    left = batch * problem.tiles_of_sample(tile) * problem.columns * SUM_BYTES if problem.sums else 0
    return KernelLaunch(
        spec.name,
        tile.variant(problem.number_format).name,
        (across * down, schedule.splits, 1),
        tile.threads,
        tile.shared_bytes,
        numbers.instruction,
        macs * numbers.products,
        issued * numbers.products,
        problem.read_bytes + written + left,
        predicted_s(problem, schedule, gpu),
    )


def launch_of_sums(spec: ChannelGateSpec, x_shape: Sequence[int], x_dtype: str, slots: int, gpu: Gpu) -> KernelLaunch:
    """The launch that sums the input of a gate; each value is an add."""
    batch, c_in, height, width = x_shape
    active, variant = channel_sums.listed(spec), channel_sums.variant_of(x_dtype)
    read = active.channels if active else Layout(x_dtype).channels(c_in)
    adds = batch * height * width * read
    count = adds * np.dtype(x_dtype).itemsize
    seconds = predicted_reading_s(gpu, batch * slots, variant.threads, count / batch / slots)
    return KernelLaunch(
        f"{spec.name}.sums",
        variant.name,
        (batch, slots, 1),
        variant.threads,
        variant.shared_bytes,
        "float32",
        adds,
        adds,
        count + batch * slots * read * SUM_BYTES,
        max(seconds, count / gpu.bandwidth_bytes_s),
    )


def launch_of_gate(spec: ChannelGateSpec, shape: Sequence[int], channels: int, slots: int, gpu: Gpu) -> KernelLaunch:
    """The launch of a gate's kernel, shared out among as many blocks as are predicted to be the fastest.

    shape: of x. slots: sums of each channel of a sample.
    """
    batch, c_in, *_ = shape
    read, variant = channel_gate.read_channels(spec, c_in), channel_gate.variant_of(spec)
    sums_bytes, phi_bytes = slots * read * SUM_BYTES, read * channels * (4 if spec.integer is None else 1)
    seconds = {
        parts: predicted_gate_s(gpu, batch, parts, sums_bytes, phi_bytes) for parts in channel_gate.parts_of(channels)
    }
    parts, macs = min(seconds, key=seconds.__getitem__), batch * read * channels
    written = batch * ((4 if spec.integer is None else 1) * channels + 4 * spec.kept)
    return KernelLaunch(
        f"{spec.name}.gate",
        variant.name,
        (batch, parts, 1),
        variant.threads,
        channel_gate.shared_bytes(read, channels, spec.granularity),
        "float32",
        macs,
        macs,
        batch * sums_bytes + phi_bytes + written,
        seconds[parts],
    )


def launch_of_codebook(spec: DenseSpec, x_shape, channels: int, gpu: Gpu) -> KernelLaunch:
    """The launch of a dense layer of packed codes; its products are those of dp4a, four in one instruction."""
    (batch, depth), variant = x_shape, dense_codebook.VARIANT
    chunks, macs = dense_codebook.chunks_of(depth), batch * depth * channels
    count = (
        batch * depth
        + channels * chunks * dense_codebook.CHUNK_BYTES
        + batch * channels * (4 if "scale" in spec.roles else 1)
    )
    return KernelLaunch(
        spec.name,
        variant.name,
        (batch, -(-channels // dense_codebook.ROWS_OF_BLOCK), 1),
        variant.threads,
        chunks * dense_codebook.CODES,
        "dp4a",
        macs,
        batch * channels * chunks * dense_codebook.CODES,
        count,
        predicted_codebook_s(gpu, batch, chunks, channels),
    )


def launch_of_depthwise(spec: Conv2dSpec, x_shape, taps: int, out_shape, y_dtype: str, gpu: Gpu) -> KernelLaunch:
    """The launch of a depthwise convolution, on the ordinary cores."""
    listed, variant = conv2d.followed(spec.winners, depthwise.GROUP), depthwise.variant_of(spec)
    channels = listed.channels if listed else out_shape[1]
    pixels, macs = x_shape[0] * x_shape[2] * x_shape[3], taps * channels * out_shape[0] * out_shape[2] * out_shape[3]
    size, written = np.dtype(depthwise.ELEMENTS[spec.format]).itemsize, out_shape[0] * out_shape[2] * out_shape[3]
    count = pixels * channels * size + written * channels * np.dtype(y_dtype).itemsize + taps * channels * size
    return KernelLaunch(
        spec.name,
        variant.name,
        (depthwise.blocks_of(out_shape, channels), 1, 1),
        variant.threads,
        0,
        "float32",
        macs,
        macs,
        count,
        BLOCK_CLOCKS / gpu.clock_hz + max(count / gpu.bandwidth_bytes_s, macs / gpu.peak_macs_s("float32")),
    )
