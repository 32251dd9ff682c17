"""How a tensor lies in device memory: pixel by pixel, channels together, so that one copy takes 16 bytes of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GROUP = 8
"""Channels that a thread finishes at once; GROUP in templates/layer.cuh."""


def whole_groups(channels: int) -> int:
    """Channels as stored: the next multiple of `GROUP`; what is added is zero."""
    return -(-channels // GROUP) * GROUP


@dataclass(frozen=True)
class Layout:
    """[N, C, H, W] stored as [N, H, W, channels] of dtype "float16" or "float32"; [N, C] as [N, 1, 1, channels]."""

    dtype: str

    def physical(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the buffer for a tensor of this logical shape."""
        batch, channels, *pixels = shape
        return (batch, *(pixels or (1, 1)), whole_groups(channels))

    def stored(self, array: np.ndarray) -> np.ndarray:
        """The buffer's content for an array of float32."""
        array = array.reshape(*array.shape, *([1, 1] if array.ndim == 2 else []))
        added = whole_groups(array.shape[1]) - array.shape[1]
        padded = np.pad(array, ((0, 0), (0, added), (0, 0), (0, 0)))
        return np.ascontiguousarray(padded.transpose(0, 2, 3, 1)).astype(self.dtype)

    def plain(self, stored: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The tensor of this logical shape in a buffer, as float32."""
        return stored.transpose(0, 3, 1, 2)[:, : shape[1]].reshape(shape).astype(np.float32)
