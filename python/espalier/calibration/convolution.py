"""The products of layers over many samples, in numpy: convolution as a matrix product over patches."""

from __future__ import annotations

import numpy as np

from espalier.core.layers import Conv2dSpec, DenseSpec, LayerSpec

CHUNK_BYTES = 4 << 20
"""Patches are laid out for so many bytes of samples at a time, about what a core's cache holds."""


def linear(spec: LayerSpec, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """What the layer computes before residual and activation.

    x: [S, C_in, H, W], or [S, C_in] for a dense layer; weight, bias: as in `LayerWeights`.
    Returns [S, C_out, H', W'] or [S, C_out].
    """
    if isinstance(spec, DenseSpec):
        return x @ weight.T + bias
    y = _convolve(spec, x, weight)
    y += bias.reshape(1, -1, 1, 1)
    return y


def finish(spec: LayerSpec, branch: np.ndarray, residual: np.ndarray | None) -> np.ndarray:
    """The residual and the activation on what `linear` gave."""
    y = branch if residual is None else branch + residual
    if spec.activation.kind == "relu":
        return np.maximum(y, 0)
    if spec.activation.kind == "clip":
        return np.clip(y, spec.activation.low, spec.activation.high)
    return y


def sampled_rows(spec: LayerSpec, x: np.ndarray, weight: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """What the layer multiplies with its weights at some output pixels.

    positions: int [P], pixel numbers row by row; a dense layer has the one pixel 0.
    Returns [groups, S * P, K], K = C_in / groups * R * S, in the order of the weight's own axes.
    """
    if isinstance(spec, DenseSpec):
        return x[None]
    windows = _windows(spec, x, weight.shape[2:])
    rows, columns = np.divmod(positions, windows.shape[-1])
    picked = np.moveaxis(windows[..., rows, columns], -1, 1)
    return picked.reshape(len(x) * len(positions), spec.groups, -1).transpose(1, 0, 2)


def sampled_outputs(z: np.ndarray, groups: int, positions: np.ndarray) -> np.ndarray:
    """[groups, S * P, C_out / groups]: outputs [S, C_out, ...] at the same pixels, in the order of `sampled_rows`."""
    flat = z.reshape(*z.shape[:2], -1)[:, :, positions]
    return flat.transpose(0, 2, 1).reshape(-1, groups, z.shape[1] // groups).transpose(1, 0, 2)


def _convolve(spec: Conv2dSpec, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    (out_h, out_w), channels = _out_size(spec, x.shape[2:], weight.shape[2:]), weight.shape[0]
    y = np.empty((len(x), channels, out_h, out_w), np.float32)
    grouped = weight.reshape(spec.groups, channels // spec.groups, -1)
    patch_bytes = spec.groups * grouped.shape[2] * out_h * out_w * x.itemsize
    step = max(1, CHUNK_BYTES // patch_bytes)
    for start in range(0, len(x), step):
        windows = _windows(spec, x[start : start + step], weight.shape[2:])
        shape = (len(windows), spec.groups, -1, out_h * out_w)
        np.matmul(grouped, windows.reshape(shape), out=y[start : start + step].reshape(shape))
    return y


def _windows(spec: Conv2dSpec, x: np.ndarray, kernel: tuple[int, int]) -> np.ndarray:
    """A view [S, C_in, R, S, H', W'] of the padded input: what each weight meets at each output pixel."""
    top, left, bottom, right = spec.padding
    out = _out_size(spec, x.shape[2:], kernel)
    if any(spec.padding):
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    sample, channel, row, column = x.strides
    taps = (row * spec.dilation[0], column * spec.dilation[1])
    pixels = (row * spec.strides[0], column * spec.strides[1])
    strides = (sample, channel, *taps, *pixels)
    return np.lib.stride_tricks.as_strided(x, (*x.shape[:2], *kernel, *out), strides, writeable=False)


def _out_size(spec: Conv2dSpec, size: tuple[int, int], kernel: tuple[int, int]) -> tuple[int, int]:
    top, left, bottom, right = spec.padding
    padded = (size[0] + top + bottom, size[1] + left + right)
    spans = (spec.dilation[i] * (kernel[i] - 1) + 1 for i in range(2))
    return tuple((whole - span) // stride + 1 for whole, span, stride in zip(padded, spans, spec.strides))
