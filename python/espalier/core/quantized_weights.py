"""The weights of a layer as codes of a number format."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .errors import InvalidInputError
from .formats import WIDTH_BITS, Format


@dataclass(frozen=True)
class QuantizedWeights:
    """Weights w[c, ...] = table[codes[c, ...]] * scale[c].

    format: a quantized one.
    codes: uint8 [C_out, ...], each below the length of the table.
    table: the layer's integer levels, int8 [L], ascending, L from 1 to 2^bits.
    scale: float32 [C_out], finite, above zero.
    components: of a focused format that did not fall back to a plain shift, (mean, step) of each component: its levels
        are mean + step * s * 2^e, integers like those of the table.
    Raises InvalidInputError for anything else.
    """

    format: Format
    codes: np.ndarray
    table: np.ndarray
    scale: np.ndarray
    components: tuple[tuple[int, int], ...] = field(default=(), kw_only=True)

    def __post_init__(self):
        if not self.format.is_quantized:
            raise InvalidInputError(f"quantized weights: {self.format} has no codes, accepted are quantized formats")
        self._check_table()
        self._check_components()
        if self.codes.dtype != np.uint8 or self.codes.ndim == 0 or self.codes.max(initial=0) >= len(self.table):
            raise InvalidInputError(
                f"quantized weights: codes are {self.codes.dtype} {list(self.codes.shape)} up to "
                f"{self.codes.max(initial=0)}, accepted is uint8 [C_out, ...] below {len(self.table)}"
            )
        if self.scale.dtype != np.float32 or self.scale.shape != self.codes.shape[:1]:
            raise InvalidInputError(
                f"quantized weights: the scale is {self.scale.dtype} {list(self.scale.shape)}, "
                f"accepted is float32 [{len(self.codes)}]"
            )
        if not (np.isfinite(self.scale) & (self.scale > 0)).all():
            raise InvalidInputError("quantized weights: a scale is not finite or not above zero")

    def _check_table(self) -> None:
        most = 2**self.format.bits
        if self.table.dtype != np.int8 or self.table.ndim != 1 or not 1 <= len(self.table) <= most:
            raise InvalidInputError(
                f"quantized weights: the table is {self.table.dtype} {list(self.table.shape)}, "
                f"accepted is int8 of 1 to {most} levels for {self.format}"
            )
        if (np.diff(self.table.astype(np.int16)) <= 0).any():
            raise InvalidInputError("quantized weights: the levels of the table do not ascend")

    def _check_components(self) -> None:
        shifts = [0, *(sign * 2**e for e in range(WIDTH_BITS) for sign in (-1, 1))]
        possible = {0, *(mean + step * shift for mean, step in self.components for shift in shifts)}
        if self.components and not possible.issuperset(self.table.tolist()):
            raise InvalidInputError(f"quantized weights: a level is no shift from a mean of {self.components}")

    @property
    def integers(self) -> np.ndarray:
        """The levels that the codes stand for: int8, shaped as the codes."""
        return self.table[self.codes]

    def dequantized(self) -> np.ndarray:
        """The weights as float32, shaped as the codes; each product is rounded once."""
        scale = self.scale.reshape(-1, *[1] * (self.codes.ndim - 1))
        return self.table.astype(np.float32)[self.codes] * scale
