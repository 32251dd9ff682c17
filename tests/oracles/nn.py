"""What layers, pools and gates mean, in numpy, written apart from the library. Everything is float64."""

from __future__ import annotations

import ml_dtypes
import numpy as np


def conv2d(x, weight, strides=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1):
    """x [N, C_in, H, W], weight [C_out, C_in/groups, R, S] to [N, C_out, P, Q]; padding is top, left, bottom, right."""
    top, left, bottom, right = padding
    x = np.pad(np.asarray(x, np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    batch, _, height, width = x.shape
    c_out, per_group, r, s = weight.shape
    rows = (height - dilation[0] * (r - 1) - 1) // strides[0] + 1
    columns = (width - dilation[1] * (s - 1) - 1) // strides[1] + 1
    x = x.reshape(batch, groups, per_group, height, width)
    weight = np.asarray(weight, np.float64).reshape(groups, c_out // groups, per_group, r, s)
    y = np.zeros((batch, groups, c_out // groups, rows, columns))
    for i in range(r):
        for j in range(s):
            seen = x[..., i * dilation[0] :, j * dilation[1] :]
            seen = seen[..., :: strides[0], :: strides[1]][..., :rows, :columns]
            y += np.einsum("ngchw,gkc->ngkhw", seen, weight[..., i, j], optimize=True)
    return y.reshape(batch, c_out, rows, columns)


def dense(x, weight):
    """x [N, C_in], weight [C_out, C_in] to [N, C_out]."""
    return np.asarray(x, np.float64) @ np.asarray(weight, np.float64).T


def pool2d(x, kind, size, strides=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), count_padding=False, ceil_mode=False):
    """The maximum or the average of each window's places inside the image; with count_padding, inside the padding."""
    top, left, bottom, right = padding
    _, _, height, width = x.shape
    free = (
        height + top + bottom - dilation[0] * (size[0] - 1) - 1,
        width + left + right - dilation[1] * (size[1] - 1) - 1,
    )
    rows, columns = ((-(-one // s) if ceil_mode else one // s) + 1 for one, s in zip(free, strides))
    y = np.empty((*x.shape[:2], rows, columns))
    for p in range(rows):
        seen_rows = [h for h in _places(p, size[0], strides[0], dilation[0], top) if h < height + bottom]
        for q in range(columns):
            seen_columns = [w for w in _places(q, size[1], strides[1], dilation[1], left) if w < width + right]
            inside = [h for h in seen_rows if 0 <= h < height], [w for w in seen_columns if 0 <= w < width]
            window = x[:, :, inside[0]][..., inside[1]].astype(np.float64)
            area = len(seen_rows) * len(seen_columns) if count_padding else len(inside[0]) * len(inside[1])
            y[:, :, p, q] = window.max((2, 3)) if kind == "max" else window.sum((2, 3)) / area
    return y


def _places(number, size, stride, dilation, before):
    return [number * stride + i * dilation - before for i in range(size)]


def channel_gate(x, phi, rho, mode, granularity, kept):
    """(pi [N, C_out], winners int32 [N, kept]): the best groups by the sum of relu(mean|x| phi + rho)."""
    saliency = np.maximum(np.abs(x, dtype=np.float64).mean((2, 3)) @ phi.astype(np.float64) + rho, 0)
    pi, winners = np.zeros_like(saliency), []
    for sample, one in enumerate(saliency):
        score = one.reshape(-1, granularity).sum(1)
        ranked = sorted(range(len(score)), key=lambda group: (-score[group], group))
        winners.append(sorted(ranked[:kept]))
        for group in winners[-1]:
            channels = slice(group * granularity, (group + 1) * granularity)
            pi[sample, channels] = one[channels] if mode == "boost" else 1
    return pi, np.array(winners, np.int32)


def listed_channels(groups, granularity, channels):
    """float64 [N, channels]: 1 where a channel's group is in the list `groups` [N, count], else 0."""
    mask = np.zeros((len(groups), channels))
    for sample, one in enumerate(groups):
        for group in one:
            mask[sample, group * granularity : (group + 1) * granularity] = 1
    return mask


def activation(spec, y):
    """spec: an `Activation`."""
    if spec.kind == "relu":
        return np.maximum(y, 0)
    return np.clip(y, spec.low, spec.high) if spec.kind == "clip" else y


def bfloat16(x):
    """float32 values rounded to the nearest bfloat16, ties to even."""
    return np.asarray(x, np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)


def layer(spec, given):
    """A convolution or dense layer with all that is fused to it; `given` holds an array for each role of `spec`."""
    if spec.format == "bfloat16":
        given = {**given, "x": bfloat16(given["x"]), "weight": bfloat16(given["weight"])}
    is_convolution = hasattr(spec, "strides")
    shape = (..., None, None) if is_convolution else (...,)
    if is_convolution:
        y = conv2d(given["x"], given["weight"], spec.strides, spec.padding, spec.dilation, spec.groups)
    else:
        y = dense(given["x"], given["weight"])
    if "bias" in given:
        y = y + given["bias"][shape]
    if spec.gate == "branch":
        y = y * given["pi"][shape]
    if "residual" in given:
        y = y + given["residual"]
    y = activation(spec.activation, y)
    if spec.gate == "output":
        y = y * given["pi"][shape]
    if spec.gate == "listed":
        y = y * listed_channels(given["winners"], spec.winners.granularity, y.shape[1])[shape]
    return bfloat16(y) if spec.out_format == "bfloat16" else y
