"""What every convolution of bytes has in common: int32 sums that are brought back to bytes."""

from __future__ import annotations

from tvm.script.ir_builder import tirx as T

from .emit import lanes_from, spread
from .requantize import REAL, Requantization, argument_types
from .stored import load


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
