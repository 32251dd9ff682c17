"""Dense products, vectorised over output channels; inputs outside a run-time list are skipped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.core.layers import DenseSpec
from espalier.targets.cpu import Isa

from ..packing import packing
from .bfloat16 import PAIR, dot, multiplies_pairs, pairs_of, with_dot
from .emit import PARALLEL_MACS, Accumulators, activated, build_kernel, lanes_from, loop, spread, tiles
from .lists import for_each_channel
from .stored import rounded, widened

TOGETHER = 4
"""Vectors of outputs that are accumulated at once: a multiply-add takes four cycles, two start in each."""


@packing
def pack_dense_weight(weight: np.ndarray, lanes: int) -> np.ndarray:
    """[C_out, C_in] to [C_out/lanes, C_in, lanes], filled up with zeros."""
    padded = np.pad(weight, ((0, -weight.shape[0] % lanes), (0, 0))).astype("float32")
    return np.ascontiguousarray(padded.reshape(-1, lanes, weight.shape[1]).transpose(0, 2, 1))


@packing
def pack_dense_pairs(weight: np.ndarray, lanes: int) -> np.ndarray:
    """[C_out, C_in] to int32 [C_out/lanes, C_in/2, lanes], each a pair of bfloat16, filled up with zeros."""
    packed = pack_dense_weight(np.pad(weight, ((0, 0), (0, weight.shape[1] % PAIR))), lanes)
    return pairs_of(packed.reshape(len(packed), -1, PAIR, lanes).swapaxes(-1, -2))


def dense(spec: DenseSpec, x_shape: tuple[int, int], channels_out: int, isa: Isa):
    """The kernel: x [N, C_in], weight and bias packed, [active], out [N, C_out]."""
    batch, channels_in = x_shape
    lanes, blocks = isa.lanes, -(-channels_out // isa.lanes)
    pairs, listed, steps = multiplies_pairs(spec, isa), spec.active, channels_in
    if pairs:
        steps = -(-channels_in // PAIR)
        listed = listed and dataclasses.replace(listed, granularity=listed.granularity // PAIR)

    def product(given, n, first, size: int) -> None:
        total = Accumulators(size, lanes)
        for i in range(size):
            start = (
                given["bias"][lanes_from((first + i) * lanes, lanes)]
                if "bias" in given
                else spread(T.float32(0), lanes)
            )
            total[i] = start

        def step(channel) -> None:
            value = T.bind(spread(given["read"](n, channel), lanes))
            for i in range(size):
                weight = given["weight"][first + i, channel, lanes_from(0, lanes)]
                total[i] = dot(total[i], value, weight) if pairs else total[i] + value * weight

        for_each_channel(given.get("active"), n, listed, steps, step)
        for i in range(size):
            value = activated(spec.activation, total[i], lanes)
            T.buffer_store(given["scratch"], value, [n, lanes_from((first + i) * lanes, lanes)])

    def body(*buffers) -> None:
        given = dict(zip((*spec.roles, "out"), buffers))
        given["read"] = _reader(given["x"], spec, x_shape, pairs)
        given["scratch"] = given["out"]
        if channels_out % lanes:
            given["scratch"] = T.alloc_buffer((batch, blocks * lanes), "float32", scope="global")
        for start, count, size in tiles(blocks, TOGETHER):
            with loop(batch * count, batch * channels_in * channels_out > PARALLEL_MACS) as task:
                product(given, T.bind(task // count), T.bind(start + task % count * size), size)
        if channels_out % lanes:
            with T.grid(batch, channels_out) as (n, channel):
                T.buffer_store(given["out"], given["scratch"][n, channel], [n, channel])

    shapes = {
        "x": (x_shape, "float32"),
        "weight": ((blocks, steps, lanes), "int32" if pairs else "float32"),
        "bias": ((blocks * lanes,), "float32"),
        "active": ((batch, spec.active.count if spec.active else 0), "int32"),
        "out": ((batch, channels_out), "float32"),
    }
    arguments = [(role, *shapes[role]) for role in (*spec.roles, "out")]
    return build_kernel(spec.name, arguments, with_dot(body) if pairs else body)


def _reader(x, spec: DenseSpec, x_shape: tuple[int, int], pairs: bool) -> Callable:
    """How a step reads x: a value, or a pair of bfloat16; x is rounded first if the layer's format says so."""
    if spec.format == "float32":
        return lambda n, channel: x[n, channel]
    batch, channels = x_shape
    halves = T.alloc_buffer((batch, channels + channels % PAIR), "uint16", scope="global")
    with T.grid(batch, channels) as (n, channel):
        T.buffer_store(halves, rounded(x[n, channel]), [n, channel])
    if not pairs:
        return lambda n, channel: widened(halves[n, channel])
    if channels % PAIR:
        with T.serial(batch) as n:
            T.buffer_store(halves, T.uint16(0), [n, channels])
    return lambda n, pair: tirx.reinterpret("int32", halves[n, lanes_from(pair * PAIR, PAIR)])
