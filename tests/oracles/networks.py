"""Small networks of the shapes that real ones have; every activation is about one in size."""

from __future__ import annotations

import tvm
from tvm import relax

from .graphs import Graph


def plain(channels: int = 16, size: int = 8, batch: int = 1, seed: int = 0) -> tvm.IRModule:
    """conv0, conv1, conv2 with batch norm and relu, then fc."""
    g = Graph(batch, 3, size, size, seed=seed)
    y = g.x
    for number in range(3):
        y = g.relu(g.batch_norm(g.conv(y, f"conv{number}", channels, bias=number == 1)))
    return g.module(g.head(y))


def residual(channels: int = 16, size: int = 9, batch: int = 1, seed: int = 0) -> tvm.IRModule:
    """A strided 7x7 stem with max-pooling, a block with an identity, one with a downsampling shortcut, then fc."""
    g = Graph(batch, 3, 4 * size, 4 * size, seed=seed)
    y = g.relu(g.batch_norm(g.conv(g.x, "stem", channels, 7, bias=False, strides=2)))
    y = g.emit(relax.op.nn.max_pool2d(y, (3, 3), (2, 2), (1, 1)))
    y = _block(g, y, "block1", channels, 1, shortcut_first=False)
    y = _block(g, y, "block2", 2 * channels, 2, shortcut_first=False)
    y = _block(g, y, "block3", 2 * channels, 2, shortcut_first=True)
    return g.module(g.head(y))


def _block(g: Graph, x, name: str, channels: int, stride: int, shortcut_first: bool):
    def branch():
        y = g.relu(g.batch_norm(g.conv(x, f"{name}.conv1", channels, bias=False, strides=stride)))
        return g.batch_norm(g.conv(y, f"{name}.conv2", channels, bias=False))

    def shortcut():
        if stride == 1:
            return x
        return g.batch_norm(g.conv(x, f"{name}.shortcut", channels, 1, bias=False, strides=stride))

    sides = [shortcut(), branch()] if shortcut_first else [branch(), shortcut()]
    return g.relu(g.emit(relax.op.add(*sides)))


def mobile(channels: int = 16, size: int = 10, batch: int = 1, seed: int = 0) -> tvm.IRModule:
    """MobileNet: a stem, then twice a depthwise and a pointwise convolution, all clipped to [0, 6], then fc."""
    g = Graph(batch, 3, size, size, seed=seed)

    def clipped(y):
        return g.emit(relax.op.clip(y, 0, 6))

    y = clipped(g.batch_norm(g.conv(g.x, "stem", channels, bias=False, strides=2)))
    for number, (c_in, c_out, stride) in enumerate([(channels, 2 * channels, 1), (2 * channels, 2 * channels, 2)]):
        y = clipped(g.batch_norm(g.conv(y, f"depthwise{number}", c_in, bias=False, groups=c_in, strides=stride)))
        y = clipped(g.batch_norm(g.conv(y, f"pointwise{number}", c_out, 1, bias=False)))
    return g.module(g.head(y))


def concatenating(channels: int = 16, size: int = 8, batch: int = 1, seed: int = 0) -> tvm.IRModule:
    """Inception: left and right read the stem, their concatenation is pooled and read by joined, then fc."""
    g = Graph(batch, 3, size, size, seed=seed)
    stem = g.relu(g.conv(g.x, "stem", channels))
    left, right = g.relu(g.conv(stem, "left", channels, 1)), g.relu(g.conv(stem, "right", 2 * channels, 5))
    y = g.emit(relax.op.concat([left, right], axis=1))
    y = g.emit(relax.op.nn.avg_pool2d(y, (2, 2), (2, 2), (0, 0), ceil_mode=True))
    y = g.relu(g.conv(y, "joined", channels))
    pooled = g.emit(relax.op.nn.adaptive_avg_pool2d(y, (1, 1)))
    flat = g.emit(relax.op.reshape(pooled, (batch, channels)))
    return g.module(g.dense(flat, "fc", 5))


def unusual(channels: int = 16, size: int = 8, batch: int = 1, seed: int = 0) -> tvm.IRModule:
    """Grouped and dilated convolutions, activations we have no kernel for, and two outputs."""
    g = Graph(batch, 3, size, size + 3, seed=seed)
    stem = g.emit(relax.op.sigmoid(g.conv(g.x, "stem", 2 * channels, 5)))
    grouped = g.emit(relax.op.nn.leakyrelu(g.conv(stem, "grouped", 4 * channels, groups=2), 0.1))
    dilated = g.emit(relax.op.nn.silu(g.conv(grouped, "dilated", channels, dilation=2, padding=(0, 1, 2, 3))))
    pooled = g.emit(relax.op.nn.avg_pool2d(dilated, (3, 3), (2, 2), (1, 1), count_include_pad=True))
    return g.module(g.head(g.relu(g.conv(pooled, "last", channels, (1)))), grouped)


NETWORKS = {one.__name__: one for one in (plain, residual, mobile, concatenating, unusual)}
