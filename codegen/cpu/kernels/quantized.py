"""What every convolution of bytes has in common: int32 sums that are brought back to bytes."""

from __future__ import annotations

from tvm.script.ir_builder import tirx as T

from .emit import lanes_from, spread
from .narrow import PIXELS, neighbours, pairs_of, stored_parts
from .requantize import NARROW, REAL, Requantization, argument_types
from .stored import load

_LANES = 16


class Quantized:
    """Goes before a kernel family among a class's bases; the problem's spec is one of `as_kernels_take_it`.

    Its roles hold "bias" always (the packed one has the input's zero point in it).
    """

    weight_element, sum_element = "int8", "int32"

    def elements(self) -> dict[str, str]:
        return argument_types(self.problem.rounding)

    def bias(self, block):
        return self.per_channel("bias", [], block)

    def factors(self, n, block):
        """(factor of the sums, pi, mask); None for those that the layer has not."""
        pi, mask = (
            T.bind(self.per_channel(role, [n], block)) if role in self.given else None for role in ("pi", "mask")
        )
        if self.problem.rounding == REAL:
            return T.bind(self.per_channel("scale", [], block)), pi, mask
        return T.bind(self._end(self.lanes).factor(self.per_channel("multiplier", [], block), pi)), pi, mask

    def finished(self, value, factors, n, block, row, column):
        factor, pi, mask = factors
        residual = None
        if "residual" in self.given:
            place = self.place(self.residual_layout, n, block, row, column)
            residual = load(self.given["residual"], self.residual_layout, place)
        value = self._end(self.lanes).outputs(value, factor, pi, residual)
        return value if mask is None else self._end(self.lanes).masked(value, mask)

    def write(self, sums: list, factors, n, block, pixels: list) -> None:
        if self.problem.rounding != NARROW or self.out_layout.block != _LANES:
            super().write(sums, factors, n, block, pixels)
            return
        for first in range(0, len(pixels), PIXELS):
            some = sums[first : first + PIXELS]
            if len(some) == 1:
                super().write(some, factors, n, block, pixels[first : first + 1])
            else:
                self._write_narrow(some, factors[0], n, block, *pixels[first])

    def _write_narrow(self, sums: list, factor, n, block, row, column) -> None:
        """Two to four pixels side by side; for fewer than four some are computed twice."""
        count, residuals = len(sums), []
        for first in pairs_of(count) if "residual" in self.given else ():
            place = neighbours(self.residual_layout, n, block, row, column + first, 2)
            residuals.append(self.given["residual"][tuple(place)])
        four = [sums[first + i] for first in pairs_of(count) for i in range(2)]
        value = T.bind(self._end(_LANES).of_pixels(four, factor, residuals))
        for pixel, part in stored_parts(value, count):
            pixels = int(part.ty.dtype.lanes) // _LANES
            T.buffer_store(self.given["out"], part, neighbours(self.out_layout, n, block, row, column + pixel, pixels))

    def lost(self) -> int:
        return self._end(self.lanes).lost()

    def resting(self, residual, lanes: int):
        return self._end(lanes).resting(residual)

    def _end(self, lanes: int) -> Requantization:
        return Requantization(self.spec, self.problem.rounding, lanes)

    def _body(self, *buffers) -> None:
        named = dict(zip((*self.spec.roles, "out"), buffers))
        channels = self.problem.channels_out
        if self.out_layout.block > 1 and channels % self.lanes:
            for role in {"pi", "mask"} & named.keys():
                named[role] = _whole_vectors(named[role], channels, self.lanes)
        super()._body(*named.values())


def _whole_vectors(rows, channels: int, lanes: int):
    """A copy of uint8 [N, C] whose rows are whole vectors; past the last channel there is 0."""
    batch, whole = int(rows.shape[0]), -(-channels // lanes) * lanes
    copy = T.alloc_buffer((batch, whole), "uint8", scope="global")
    with T.serial(batch) as n:
        with T.serial(channels) as channel:
            T.buffer_store(copy, rows[n, channel], [n, channel])
        T.buffer_store(copy, spread(T.uint8(0), whole - channels), [n, lanes_from(channels, whole - channels)])
    return copy
