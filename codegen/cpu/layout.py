"""How a four-dimensional tensor lies in memory on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Layout:
    """Channels in blocks, with a margin around each plane.

    block: channels that lie side by side. 1 is plain NCHW, stored as [N, C, H + 2 halo, W + 2 halo];
        more is stored as [N, ceil(C / block), H + 2 halo, W + 2 halo, block]; lanes past C hold finite values that
        meet zero weights.
    halo: rows and columns of `fill` on every side, so that convolutions read their padding as memory.
    dtype: "float32", "bfloat16" or "uint8".
    fill: what stands for zero in the halo: 0, or the zero point of a quantized tensor.
    """

    block: int = 1
    halo: int = 0
    dtype: str = "float32"
    fill: int = 0

    def __post_init__(self):
        if not self.halo:
            object.__setattr__(self, "fill", 0)  # so that layouts that store the same are equal

    @property
    def element(self) -> str:
        """The element type of the buffer: bits of bfloat16 values, so that TVM does not turn them into float32."""
        return {"bfloat16": "uint16"}.get(self.dtype, self.dtype)

    def physical(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The stored shape of a tensor of logical shape [N, C, H, W]."""
        n, c, h, w = shape
        plane = (h + 2 * self.halo, w + 2 * self.halo)
        return (n, c, *plane) if self.block == 1 else (n, -(-c // self.block), *plane, self.block)

    def index(self, n, block, h, w, lane=0) -> list:
        """The stored index of row h, column w of a channel block; both count from the inside of the halo."""
        inside = [n, block, h + self.halo, w + self.halo]
        return inside if self.block == 1 else [*inside, lane]

    def pack(self, x: np.ndarray) -> np.ndarray:
        """[N, C, H, W], uint8 or else float32, as it is stored; bfloat16 layouts drop what they have no room for."""
        n, c, h, w = x.shape
        kind = np.uint8 if self.dtype == "uint8" else np.float32
        wide = np.full((n, c + -c % self.block, h + 2 * self.halo, w + 2 * self.halo), self.fill, kind)
        wide[:, :c, self.halo : self.halo + h, self.halo : self.halo + w] = x
        if self.block > 1:
            wide = wide.reshape(n, -1, self.block, *wide.shape[2:]).transpose(0, 1, 3, 4, 2)
        wide = np.ascontiguousarray(wide)
        return (wide.view(np.uint32) >> 16).astype(np.uint16) if self.dtype == "bfloat16" else wide

    def unpack(self, stored: np.ndarray, channels: int) -> np.ndarray:
        """What `pack` stored, without its margin: uint8 or float32 [N, channels, H, W]."""
        if self.dtype == "bfloat16":
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        if self.block > 1:
            n, blocks, h, w, _ = stored.shape
            stored = stored.transpose(0, 1, 4, 2, 3).reshape(n, blocks * self.block, h, w)
        rows, columns = (slice(self.halo, extent - self.halo) for extent in stored.shape[2:])
        return stored[:, :channels, rows, columns]


PLAIN, PLAIN_BYTES = Layout(), Layout(dtype="uint8")
"""Ordinary tensors, of float32 and of uint8."""
