"""Images and windows as the line buffer of a stage sees them, for the schedule and both emissions alike.

A pointwise convolution sees one long column of pixels. A stage that reads beats of several pixels sees rows of beats:
its windows are of whole beats and move by one beat, so that the windows of all output pixels which are computed at a
time lie in the same places of each window of beats, and what picks them is wires.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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

    @property
    def taps(self) -> int:
        """Of a whole window."""
        return math.prod(self.kernel)


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


def bits_read(stage: Convolution | MaxPool) -> dict[int, int]:
    """How many of the taps that the line buffer gives in a cycle have so many bits that are read.

    Of a beat of several pixels at the end of a window of beats, not all may lie in the window of an output pixel.
    """
    if stage.pixels == 1:
        lanes = stage.in_lanes if isinstance(stage, Convolution) else stage.lanes
        return {8 * lanes: taps_read(stage)}
    seen, found = windows_of(stage), {}
    starts = range(seen.first, seen.first + stage.out_pixels * stage.stride[1], stage.stride[1])
    columns = {start + column for start in starts for column in range(stage.kernel[1])}
    for beat in range(seen.kernel[1]):
        bits = 8 * stage.in_shape[2] * sum(column // stage.pixels == beat for column in columns)
        found[bits] = found.get(bits, 0) + taps_read(stage) // seen.kernel[1]
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
