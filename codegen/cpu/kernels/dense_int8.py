"""Dense products of unsigned bytes with signed ones, vectorised over output channels, four inputs at a step.

Weights of few distinct values can stay packed: codes of 1 to 6 bits, which a permutation of bytes turns into the
values they stand for (`packed_codes`), so that a layer that waits for its weights waits for fewer bytes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.core.layers import DenseSpec
from espalier.targets.cpu import Isa

from ..packing import packing
from .emit import PARALLEL_MACS, Accumulators, build_kernel, lanes_from, loop, tiles
from .int8 import QUAD, dot_quads
from .lists import for_each_channel
from .packed_codes import Codes
from .requantize import REAL, Requantization, argument_types

TOGETHER, TOGETHER_PACKED = 4, 8
"""Vectors of outputs that are accumulated at once: an instruction's result is ready four cycles later. Codes take more
instructions for each byte that is read, so that it pays to share an input's among more of them (measured: 10 %)."""


def pack_dense_quads(weight: np.ndarray, lanes: int, codes: Codes | None = None) -> np.ndarray:
    """int8 [C_out, C_in] to [C_out/lanes, C_in/4, 4 lanes]; or uint8 codes, see `Codes.pack`.

    It is filled up with zeros; codes with a value that they have anyway, which meets inputs of zero.
    """
    return pack_rows_of_codes(weight, lanes, codes.bits) if codes else pack_rows_of_quads(weight, lanes)


@packing
def pack_rows_of_quads(weight: np.ndarray, lanes: int) -> np.ndarray:
    """`pack_dense_quads` without codes."""
    return rows_of_quads(weight, lanes)


@packing
def pack_rows_of_codes(weight: np.ndarray, lanes: int, bits: int) -> np.ndarray:
    """`pack_dense_quads` with codes of so many bits."""
    codes = Codes(bits)
    return codes.pack(rows_of_quads(weight, lanes, codes.group, weight.min()))


def rows_of_quads(weight: np.ndarray, lanes: int, steps: int = 1, fill: int = 0) -> np.ndarray:
    """int8 [C_out, C_in] to [C_out/lanes, C_in/4, 4 lanes], filled up to a multiple of so many steps."""
    width = ((0, -len(weight) % lanes), (0, -weight.shape[1] % (QUAD * steps)))
    padded = np.pad(weight, width, constant_values=fill)
    quads = padded.reshape(len(padded) // lanes, lanes, -1, QUAD).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(quads).reshape(*quads.shape[:2], lanes * QUAD)


def dense_int8(
    spec: DenseSpec, x_shape: tuple[int, int], channels_out: int, isa: Isa, rounding: str, codes: Codes | None = None
):
    """The kernel: x uint8 [N, C_in], constants packed, [pi], [mask], [active], [residual], out [N, C_out].

    spec: one of `as_kernels_take_it`. codes: how the weight is packed (with the table of `Codes.table`
    as an argument before out), None for plain bytes; a list of active inputs is in whole groups of them.
    """
    return _DenseOfBytes(spec, x_shape, channels_out, isa, rounding, codes).build()


class _DenseOfBytes:
    def __init__(self, spec, x_shape, channels_out, isa, rounding, codes):
        self.spec, self.x_shape, self.channels_out, self.isa = spec, x_shape, channels_out, isa
        self.end, self.codes = Requantization(spec, rounding, isa.lanes), codes
        self.group = codes.group if codes else 1
        self.blocks = -(-channels_out // isa.lanes)
        self.steps = -(-x_shape[1] // (QUAD * self.group)) * self.group
        self.whole = (x_shape[0], self.blocks * isa.lanes)

    def build(self):
        batch, lanes = self.x_shape[0], self.isa.lanes
        wide = 4 * lanes
        shape = self.codes.shape(self.blocks, self.steps, wide) if self.codes else (self.blocks, self.steps, wide)
        types = argument_types(self.end.rounding)
        shapes = {
            "x": (self.x_shape, "uint8"),
            "weight": (shape, "uint8" if self.codes else "int8"),
            "residual": ((batch, self.channels_out), "uint8"),
            "active": ((batch, self.spec.active.count if self.spec.active else 0), "int32"),
            "winners": ((batch, self.spec.winners.count if self.spec.winners else 0), "int32"),
            "out": ((batch, self.channels_out), self.spec.out_format),
        }
        shapes |= {role: (self.whole[1:], types[role]) for role in ("bias", "multiplier", "scale")}
        shapes |= dict.fromkeys(("pi", "mask"), ((batch, self.channels_out), "uint8"))
        if self.codes:
            shapes["table"] = ((self.codes.entries,), "int8")
        roles = (*self.spec.roles, *(["table"] if self.codes else []), "out")
        return build_kernel(self.spec.name, [(role, *shapes[role]) for role in roles], self._body(roles))

    def _body(self, roles):
        def body(*buffers) -> None:
            self.given = dict(zip(roles, buffers))
            batch = self.x_shape[0]
            self._bring_to_whole_vectors()
            together = min(TOGETHER_PACKED if self.codes else TOGETHER, -(-self.blocks // self.isa.cores))
            for start, count, size in tiles(self.blocks, together):
                with loop(batch * count, batch * self.x_shape[1] * self.channels_out > PARALLEL_MACS) as task:
                    self._product(T.bind(task // count), T.bind(start + task % count * size), size)
            if self.scratch is not self.given["out"]:
                with T.grid(batch, self.channels_out) as (n, channel):
                    T.buffer_store(self.given["out"], self.scratch[n, channel], [n, channel])

        return body

    def _bring_to_whole_vectors(self) -> None:
        """Copies of what is read or written beyond its end."""
        if self.x_shape[1] != self.steps * QUAD:
            self.given["x"] = _widened(self.given["x"], self.steps * QUAD)
        self.scratch = self.given["out"]
        if self.channels_out == self.whole[1]:
            return
        for role in {"pi", "mask", "residual"} & self.given.keys():
            self.given[role] = _widened(self.given[role], self.whole[1])
        self.scratch = T.alloc_buffer(self.whole, self.spec.out_format, scope="global")

    def _product(self, n, first, size: int) -> None:
        lanes = self.isa.lanes
        total = Accumulators(size, lanes, "int32")
        for i in range(size):
            total[i] = self.given["bias"][lanes_from((first + i) * lanes, lanes)]
        table = self.codes.bind_table(self.given["table"]) if self.codes else None
        active, together = self.spec.active, QUAD * self.group
        if active:
            active = dataclasses.replace(active, granularity=active.granularity // together)

        def step(number) -> None:
            if self.codes:
                self._steps(total, n, [first + i for i in range(size)], number, table)
            else:
                self._step(total, n, first, size, number)

        for_each_channel(self.given.get("active"), n, active, self.steps // self.group, step)
        for i in range(size):
            self._finish(total[i], n, first + i)

    def _step(self, total, n, first, size: int, step) -> None:
        value = T.bind(self._value(n, step))
        for i in range(size):
            quads = self.given["weight"][first + i, step, lanes_from(0, QUAD * self.isa.lanes)]
            weight = tirx.reinterpret(f"int32x{self.isa.lanes}", quads)
            total[i] = dot_quads(self.isa, total[i], value, weight)

    def _steps(self, total, n, blocks: list, group, table) -> None:
        """As many steps as share vectors of codes."""
        values = [T.bind(self._value(n, group * self.group + k)) for k in range(self.group)]
        for i, block in enumerate(blocks):
            planes = self.codes.load(self.given["weight"], block, group)
            for k, value in enumerate(values):
                total[i] = dot_quads(self.isa, total[i], value, self.codes.expand(planes, k, table))

    def _value(self, n, step):
        value = tirx.reinterpret("int32", self.given["x"][n, lanes_from(step * QUAD, QUAD)])
        return T.broadcast(value, self.isa.lanes)

    def _finish(self, sums, n, block) -> None:
        channels = lanes_from(block * self.isa.lanes, self.isa.lanes)
        pi, mask, residual = (self.given[role][n, channels] if role in self.given else None for role in _OF_SAMPLES)
        if residual is not None:
            residual = T.cast(residual, f"int32x{self.isa.lanes}")
        if self.end.rounding == REAL:
            real = self.end.outputs(sums, self.given["scale"][channels], None, None)
            T.buffer_store(self.scratch, real, [n, channels])
            return
        factor = self.end.factor(self.given["multiplier"][channels], pi)
        value = self.end.outputs(sums, factor, pi, residual)
        value = value if mask is None else self.end.masked(value, mask)
        T.buffer_store(self.scratch, T.cast(value, f"uint8x{self.isa.lanes}"), [n, channels])


_OF_SAMPLES = ("pi", "mask", "residual")


def _widened(rows, width: int):
    """A copy of uint8 [N, C] with zeros up to a width."""
    batch, channels = (int(dim) for dim in rows.shape)
    copy = T.alloc_buffer((batch, width), "uint8", scope="global")
    with T.serial(batch) as n:
        with T.serial(channels) as channel:
            T.buffer_store(copy, rows[n, channel], [n, channel])
        with T.serial(width - channels) as channel:
            T.buffer_store(copy, T.uint8(0), [n, channels + channel])
    return copy
