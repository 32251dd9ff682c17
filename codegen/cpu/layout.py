"""How a four-dimensional tensor lies in memory on a CPU."""

from __future__ import annotations

from dataclasses import dataclass


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


PLAIN, PLAIN_BYTES = Layout(), Layout(dtype="uint8")
"""Ordinary tensors, of float32 and of uint8."""
