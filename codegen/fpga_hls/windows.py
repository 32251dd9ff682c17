"""Images and windows as the line buffer of a stage sees them, for the schedule and both emissions alike.

A pointwise convolution sees one long column of pixels. A stage that reads beats of several pixels sees rows of beats:
its windows are of whole beats and move by one beat, so that the windows of all output pixels which are computed at a
time lie in the same places of each window of beats, and what picks them is wires.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from .ports import lanes_in
from .stages import Convolution, MaxPool


@dataclass(frozen=True)
class Windows:
    """width, and of pairs the second: in beats of all their pixels, or in pixels where a beat has one or a part of one.

    columns: windows in a row. first: pixels in front of the first output pixel's window in a window of beats.
    """

    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    top: int
    left: int
    rows: int
    columns: int
    first: int = 0

    def last_row(self, row: int) -> int:
        """The last row of the image in the windows of an output row."""
        return min(row * self.stride[0] - self.top + self.kernel[0], self.height) - 1

    def oldest_after(self, row: int) -> int:
        """Rows of the image that no window after this output row needs."""
        if row == self.rows - 1:
            return self.height
        return min(max((row + 1) * self.stride[0] - self.top, 0), self.height)

    def last_columns(self) -> np.ndarray:
        """For each output column, the last column of the image in its windows."""
        return np.clip(np.arange(self.columns) * self.stride[1] - self.left + self.kernel[1], 1, self.width) - 1


def windows_of(stage: Convolution | MaxPool) -> Windows:
    """Of a convolution or a pooling."""
    found = _in_pixels(stage) if stage.pixels == 1 else _in_beats(stage)
    if not (isinstance(stage, Convolution) and stage.is_pointwise):
        return found
    height, rows = found.height * found.width, found.rows * found.columns
    return Windows(height, 1, found.kernel, found.stride, found.top, found.left, rows, 1)


def taps_read(stage: Convolution | MaxPool) -> int:
    """Taps of a window that the line buffer gives in a cycle."""
    taps = stage.folding.taps if isinstance(stage, Convolution) else math.prod(stage.kernel)
    return taps if stage.pixels == 1 else taps // stage.kernel[1] * windows_of(stage).kernel[1]


def bits_read(stage: Convolution | MaxPool) -> Counter[tuple[int, int]]:
    """Of the words that the line buffer gives in a cycle: which bits are read, from one to below the other, and of how
    many words. Of beats at the ends of a window of beats, not all pixels may lie in the window of an output pixel.
    """
    if stage.pixels == 1:
        return Counter({(0, 8 * lanes_in(stage, "x")): taps_read(stage)})
    seen, pixels, bits = windows_of(stage), stage.pixels, 8 * stage.in_shape[2]
    last, found = seen.first + (stage.out_pixels - 1) * stage.stride[1] + stage.kernel[1], Counter()
    for beat in range(seen.kernel[1]):
        low, high = max(seen.first - beat * pixels, 0), min(last - beat * pixels, pixels)
        found[low * bits, high * bits] += taps_read(stage) // seen.kernel[1]
    return found


def _in_pixels(stage: Convolution | MaxPool) -> Windows:
    return Windows(*stage.in_shape[:2], stage.kernel, stage.stride, *stage.padding[:2], *stage.out_shape[:2])


def _in_beats(stage: Convolution | MaxPool) -> Windows:
    (height, width), (rows, columns) = stage.in_shape[:2], stage.out_shape[:2]
    top, left = stage.padding[:2]
    before = -(-left // stage.pixels)
    first = before * stage.pixels - left
    across = first + (stage.out_pixels - 1) * stage.stride[1] + stage.kernel[1]
    kernel, stride = (stage.kernel[0], -(-across // stage.pixels)), (stage.stride[0], 1)
    sizes = height, width // stage.pixels, kernel, stride, top, before, rows, columns // stage.out_pixels
    return Windows(*sizes, first)
