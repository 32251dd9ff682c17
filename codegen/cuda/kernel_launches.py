"""The launches of each kernel family, with the work that they do and the bytes that they cannot avoid."""

from __future__ import annotations

import numpy as np

from espalier.core.layers import ChannelGateSpec, Conv2dSpec, DenseSpec, LayerSpec
from espalier.targets.gpu import Gpu

from .kernels import channel_gate, conv2d, dense_codebook, depthwise
from .kernels.choose_schedule import BLOCK_CLOCKS, predicted_gate_s, predicted_s
from .launches import KernelLaunch


def launch_of(
    spec: LayerSpec, problem: conv2d.Problem, schedule: conv2d.Schedule, y_dtype: str, gpu: Gpu
) -> KernelLaunch:
    """The launch of a layer's kernel, with the work that it does and the bytes that it cannot avoid."""
    tile, numbers = schedule.tile, problem.numbers
    across, down = problem.tiles(tile)
    batch, _, rows, columns = problem.out_shape
    pixels, (height, width) = batch * rows * columns, problem.x_shape[2:]
    read = problem.active.channels if problem.active else problem.x_chunks * numbers.chunk
    macs = pixels * problem.columns * problem.taps[0] * problem.taps[1] * read
    issued = across * down * tile.rows * tile.columns * problem.depth * conv2d.DEPTH_CHUNKS * numbers.chunk
    size = np.dtype(numbers.element).itemsize
    lists = batch if problem.winners or problem.active else 1
    weight_bytes = lists * problem.columns * problem.taps[0] * problem.taps[1] * read * size
    written = pixels * problem.columns * np.dtype(y_dtype).itemsize * (2 if "residual" in spec.roles else 1)
    return KernelLaunch(
        spec.name,
        tile.variant(problem.number_format).name,
        (across, down, schedule.splits),
        tile.threads,
        tile.shared_bytes,
        numbers.instruction,
        macs * numbers.products,
        issued * numbers.products,
        batch * height * width * read * size + weight_bytes + written,
        predicted_s(problem, schedule, gpu),
    )


def launch_of_gate(spec: ChannelGateSpec, shape, channels: int, x_dtype: str, parts: int, gpu: Gpu) -> KernelLaunch:
    """The launch of a gate's kernel."""
    batch, c_in, rows, columns = shape
    active, variant = channel_gate.followed_list(spec), channel_gate.variant_of(spec)
    macs = batch * c_in * channels
    read = batch * rows * columns * (active.channels if active else c_in) * np.dtype(x_dtype).itemsize
    size = 4 if spec.integer is None else 1
    written = batch * (size * channels + 4 * spec.kept)
    shared = channel_gate.shared_bytes(c_in, channels, spec.granularity)
    return KernelLaunch(
        f"{spec.name}.gate",
        variant.name,
        (parts, batch, 1),
        variant.threads,
        shared,
        "float32",
        macs,
        macs,
        read + size * c_in * channels + written,
        predicted_gate_s(read // batch + size * c_in * channels, parts, gpu),
    )


def launch_of_codebook(spec: DenseSpec, x_shape, channels: int, gpu: Gpu) -> KernelLaunch:
    """The launch of a dense layer of packed codes; its products are those of dp4a, four in one instruction."""
    (batch, depth), variant = x_shape, dense_codebook.VARIANT
    chunks, macs = dense_codebook.chunks_of(depth), batch * depth * channels
    count = batch * depth + channels * chunks * 16 + batch * channels * (4 if "scale" in spec.roles else 1)
    return KernelLaunch(
        spec.name,
        variant.name,
        (-(-channels // dense_codebook.ROWS_OF_BLOCK), batch, 1),
        variant.threads,
        chunks * dense_codebook.CODES,
        "dp4a",
        macs,
        batch * channels * chunks * dense_codebook.CODES,
        count,
        BLOCK_CLOCKS / gpu.clock_hz + count / gpu.bandwidth_bytes_s,
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
