"""Tensors as kernels store them: channels in blocks, a halo of zeros around each plane."""

from __future__ import annotations

import ml_dtypes
import numpy as np


def store(x, block: int, halo: int, dtype: str = "float32", fill: int = 0):
    """x [N, C, H, W] to [N, C, H', W'] for block 1, to [N, ceil(C / block), H', W', block] for more.

    fill: what stands around the planes, and past the last channel of a block.
    """
    if dtype == "bfloat16":
        return store(x, block, halo).astype(ml_dtypes.bfloat16).view(np.uint16)
    n, c, h, w = x.shape
    wide = np.full((n, c + -c % block, h + 2 * halo, w + 2 * halo), fill, dtype)
    wide[:, :c, halo : halo + h, halo : halo + w] = x
    if block == 1:
        return wide
    return np.ascontiguousarray(wide.reshape(n, -1, block, *wide.shape[2:]).transpose(0, 1, 3, 4, 2))


def load(stored, block: int, halo: int, channels: int):
    """The inverse of `store`, as (x, everything else): halos, and of real numbers lanes past the last channel."""
    if stored.dtype == np.uint16:
        stored = stored.view(ml_dtypes.bfloat16).astype(np.float32)
    if block > 1:
        n, blocks, h, w, _ = stored.shape
        stored = stored.transpose(0, 1, 4, 2, 3).reshape(n, blocks * block, h, w)
    inside = np.zeros(stored.shape[2:], bool)
    inside[halo : inside.shape[0] - halo, halo : inside.shape[1] - halo] = True
    shape = (*stored.shape[:2], inside.shape[0] - 2 * halo, inside.shape[1] - 2 * halo)
    planes = stored[:, :, inside].reshape(shape)
    beyond = planes[:, channels:] if stored.dtype != np.uint8 else planes[:, :0]
    margin = np.concatenate([stored[:, :channels, ~inside].reshape(-1), beyond.reshape(-1)])
    return planes[:, :channels], margin
