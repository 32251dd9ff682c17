"""The shapes of one convolution, as every kernel family needs them."""

from __future__ import annotations

from dataclasses import dataclass

from espalier.core.layers import Conv2dSpec


@dataclass(frozen=True)
class ConvProblem:
    """A layer with its shapes: x [N, C_in, H, W], weight [C_out, C_in/groups, R, S], out [N, C_out, P, Q].

    rounding: how a quantized layer's sums are rounded, see `requantize.rounding_of`.
    """

    spec: Conv2dSpec
    x_shape: tuple[int, int, int, int]
    weight_shape: tuple[int, int, int, int]
    out_shape: tuple[int, int, int, int]
    rounding: str = ""

    @property
    def channels_in(self) -> int:
        return self.x_shape[1]

    @property
    def channels_out(self) -> int:
        return self.weight_shape[0]

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weight_shape[2:]

    @property
    def is_depthwise(self) -> bool:
        return self.spec.groups == self.channels_in == self.channels_out

    @property
    def computed_in(self) -> int:
        """Input channels that each output channel reads."""
        return self.spec.active.channels if self.spec.active else self.weight_shape[1]

    @property
    def computed_out(self) -> int:
        """Output channels that are computed."""
        return self.spec.winners.channels if self.spec.winners else self.channels_out

    @property
    def macs(self) -> int:
        """Multiply-accumulates done for the whole batch."""
        n, _, p, q = self.out_shape
        r, s = self.kernel
        return n * p * q * r * s * self.computed_in * self.computed_out

    @property
    def halo_needed(self) -> int:
        """Rows or columns of zeros around x that the padding reads."""
        return max(self.spec.padding)

    def row(self, p, r):
        """The input row (inside the halo) under output row p and kernel row r."""
        return p * self.spec.strides[0] + r * self.spec.dilation[0] - self.spec.padding[0]

    def column(self, q, s):
        """The input column (inside the halo) under output column q and kernel column s."""
        return q * self.spec.strides[1] + s * self.spec.dilation[1] - self.spec.padding[1]
