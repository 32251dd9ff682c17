"""What direct convolutions have in common, whatever they are vectorised over.

A kernel is a parallel loop over (sample, tile of channels, tile of rows); each tile keeps its sums in
registers over the whole reduction, then adds what is fused to the layer and writes once.
"""

from __future__ import annotations

from abc import abstractmethod

from tvm.script.ir_builder import tirx as T

from .convolution import Convolution
from .emit import Accumulators, for_tile, loop


class TiledConvolution(Convolution):
    """A kernel family fills in how channels are tiled, and how a tile is computed.

    row_size: output rows in a tile.
    """

    row_size: int

    @abstractmethod
    def channel_tiles(self) -> int:
        """How many tiles of channels are computed."""

    @abstractmethod
    def compute_rows(self, n, channel_tile, first_row, height: int) -> None:
        """Emit one tile of channels for `height` rows."""

    def compute(self) -> None:
        """The parallel loop."""
        with loop(self.tasks(), self.parallel) as task:
            self.compute_task(task)

    def tasks(self) -> int:
        """How many tiles of channels and rows are computed."""
        return self.problem.out_shape[0] * self.channel_tiles() * self._row_tiles()

    def compute_task(self, task) -> None:
        """Emit one of them."""
        row_tiles, channel_tiles, rows = self._row_tiles(), self.channel_tiles(), self.problem.out_shape[2]
        n = T.bind(task // (channel_tiles * row_tiles))
        tile, row_tile = T.bind(task // row_tiles % channel_tiles), T.bind(task % row_tiles)
        for_tile(row_tile, rows, self.row_size, lambda first, height: self.compute_rows(n, tile, first, height))

    def _row_tiles(self) -> int:
        return -(-self.problem.out_shape[2] // self.row_size)

    def write(self, sums: list, factors, n, block, pixels: list) -> None:
        """Finish and store the sums of pixels that lie side by side."""
        for total, (row, column) in zip(sums, pixels):
            self.store(self.finished(total, factors, n, block, row, column), n, block, row, column)


class DirectConvolution(TiledConvolution):
    """A kernel family fills in the reduction too."""

    @abstractmethod
    def reduce(self, total, n, blocks: list, pixels: list) -> None:
        """Emit the sums: total[i * len(pixels) + j] for block i, pixel j."""

    def compute_tile(self, n, blocks: list, pixels: list, width: int = 1) -> None:
        """Emit the output vectors of these channel blocks at these pixels (row, first column).

        width: so many of them at a time lie side by side in a row.
        """
        total = Accumulators(len(blocks) * len(pixels), self.lanes, self.sum_element)
        for i, block in enumerate(blocks):
            start = T.bind(self.bias(block))
            for j in range(len(pixels)):
                total[i * len(pixels) + j] = start
        self.reduce(total, n, blocks, pixels)
        for i, block in enumerate(blocks):
            factors = self.factors(n, block)
            for first in range(0, len(pixels), width):
                sums = [total[i * len(pixels) + first + j] for j in range(width)]
                self.write(sums, factors, n, block, pixels[first : first + width])
