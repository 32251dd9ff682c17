"""The channel gate of a quantized layer in integers, see `core.integer.GateArithmetic`."""

from __future__ import annotations

import dataclasses

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.core.layers import ChannelGateSpec
from espalier.targets.cpu import Isa

from ...integer_bounds import check_scores
from ..layout import Layout
from ..packing import packing
from .channel_gate import ChannelGateKernel
from .dense_int8 import rows_of_quads
from .emit import lanes_from, spread, vector_type
from .int8 import QUAD, dot_quads
from .integer_glue import sum_of_plane
from .lists import filled_up, for_each_channel
from .requantize import half_even


def channel_gate_int8(spec: ChannelGateSpec, x_shape: tuple[int, ...], channels_out: int, isa: Isa, x_layout: Layout):
    """The kernel: x uint8, phi and rho of `pack_gate`, [active]; results pi uint8 [N, C_out], winners [N, kept]."""
    return _IntegerGate(spec, x_shape, channels_out, isa, x_layout).build()


def pack_gate(spec: ChannelGateSpec, phi: np.ndarray, rho: np.ndarray, lanes: int) -> dict[str, np.ndarray]:
    """phi int8 [C_in, C_out] to [C_out/lanes, C_in/4, 4 lanes], rho int32 [C_out], both up to whole vectors.

    Raises InvalidModelError if the score of a group may exceed 32 bits.
    """
    check_scores(spec, phi, rho)
    return {"phi": pack_predictor(phi, lanes), "rho": filled_up(rho, lanes)}


@packing
def pack_predictor(phi: np.ndarray, lanes: int) -> np.ndarray:
    """int8 [C_in, C_out] to [C_out/lanes, C_in/4, 4 lanes]."""
    return rows_of_quads(phi.T, lanes)


class _IntegerGate(ChannelGateKernel):
    element, factor_element = "int32", "uint8"

    def predictor(self):
        return (self.vectors, -(-self.x_shape[1] // QUAD), QUAD * self.isa.lanes), "int8"

    def subsample(self):
        batch, channels, rows, columns = self.x_shape
        lanes, active = self.x_layout.block, self.spec.active
        whole = -(-channels // max(QUAD, lanes)) * max(QUAD, lanes)
        means = _zeros(batch, whole)

        def mean_of(n, block) -> None:
            zero = spread(T.int32(self.spec.integer.x_zero), lanes)
            total = sum_of_plane(
                self.given["x"], self.x_layout, n, block, rows, columns, lambda value: tirx.abs(value - zero)
            )
            mean = self._rounded(total, self.spec.integer.mean_multiplier, self.spec.integer.mean_shift, lanes)
            T.buffer_store(means, T.cast(mean, vector_type("uint8", lanes)), [n, lanes_from(block * lanes, lanes)])

        self.for_each_block(mean_of)
        if active is None or active.granularity % QUAD == 0:
            return means
        listed = _zeros(batch, whole)  # quads in which some channels rest
        with T.serial(batch) as n:

            def copy(channel) -> None:
                T.buffer_store(listed, means[n, channel], [n, channel])

            for_each_channel(self.given["active"], n, active, channels, copy)
        return listed

    def predict(self, subsampled, saliency, n) -> None:
        lanes, active, quads = self.isa.lanes, self.spec.active, -(-self.x_shape[1] // QUAD)
        follows = active is not None and active.granularity % QUAD == 0
        listed = dataclasses.replace(active, granularity=active.granularity // QUAD) if follows else None

        # Sums stay in memory: TVM would give accumulators and the bytes of other buffers one storage of mixed types.
        def place(vector) -> list:
            return [n, lanes_from(vector * lanes, lanes)]

        with T.serial(self.vectors) as vector:
            T.buffer_store(saliency, self.given["rho"][lanes_from(vector * lanes, lanes)], place(vector))

        def step(quad) -> None:
            four = tirx.reinterpret("int32", subsampled[n, lanes_from(quad * QUAD, QUAD)])
            value = T.bind(spread(four, lanes))
            with T.serial(self.vectors) as vector:
                weight = self.given["phi"][vector, quad, lanes_from(0, QUAD * lanes)]
                weight = tirx.reinterpret(vector_type("int32", lanes), weight)
                total = dot_quads(self.isa, saliency[tuple(place(vector))], value, weight)
                T.buffer_store(saliency, total, place(vector))

        for_each_channel(self.given.get("active"), n, listed, quads, step)
        with T.serial(self.vectors) as vector:
            positive = tirx.max(saliency[tuple(place(vector))], spread(T.int32(0), lanes))
            T.buffer_store(saliency, positive, place(vector))

    def factor(self, saliency):
        one = self.spec.integer
        return T.cast(self._rounded(saliency, one.pi_multiplier, one.pi_shift, 1), "uint8")

    def _rounded(self, value, multiplier: int, shift: int, lanes: int):
        """min(RNE(value, multiplier, shift), 255)."""
        wide = T.cast(value, vector_type("int64", lanes)) * spread(tirx.const(multiplier, "int64"), lanes)
        return tirx.min(half_even(wide, shift, "int64", lanes), spread(tirx.const(255, "int64"), lanes))


def _zeros(batch: int, channels: int):
    """A buffer of bytes."""
    buffer = T.alloc_buffer((batch, channels), "uint8", scope="global")
    with T.grid(batch, channels) as (n, channel):
        T.buffer_store(buffer, T.uint8(0), [n, channel])
    return buffer
