"""How a tensor lies in device memory: pixel by pixel, channels together, so that one copy takes 16 bytes of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GROUP = 8
"""Channels that a thread finishes at once; GROUP in templates/layer.cuh."""
COPY_BYTES = 16
"""What a thread copies at a time."""


def whole_groups(channels: int, group: int = GROUP) -> int:
    """The next multiple of `group`."""
    return -(-channels // group) * group


@dataclass(frozen=True)
class Layout:
    """[N, C, H, W] stored as [N, H, W, channels], [N, C] as [N, 1, 1, channels].

    dtype: "float16", "float32" or "uint8". Channels are filled up so that a pixel is whole copies of 16 bytes. What is
    added is anything: no weight meets it.
    """

    dtype: str

    def channels(self, channels: int) -> int:
        """Channels as stored."""
        return whole_groups(channels, max(GROUP, COPY_BYTES // np.dtype(self.dtype).itemsize))

    def physical(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the buffer for a tensor of this logical shape."""
        batch, channels, *pixels = shape
        return (batch, *(pixels or (1, 1)), self.channels(channels))

    def stored(self, array: np.ndarray) -> np.ndarray:
        """The buffer's content for an array of float32, or of bytes."""
        array = array.reshape(*array.shape, *([1, 1] if array.ndim == 2 else []))
        added = self.channels(array.shape[1]) - array.shape[1]
        padded = np.pad(array, ((0, 0), (0, added), (0, 0), (0, 0)))
        return np.ascontiguousarray(padded.transpose(0, 2, 3, 1)).astype(self.dtype)

    def plain(self, stored: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The tensor of this logical shape in a buffer, as float32, or as bytes."""
        plain = stored.transpose(0, 3, 1, 2)[:, : shape[1]].reshape(shape)
        return plain if self.dtype == "uint8" else plain.astype(np.float32)
