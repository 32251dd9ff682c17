"""What the machine can do at best: multiply-adds in registers, and bytes moved by a copy."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import tvm
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.codegen.cpu.kernels.emit import Accumulators, build_kernel, lanes_from, loop, spread
from espalier.codegen.cpu.kernels.int8 import QUAD, dot_quads
from espalier.codegen.cpu.kernels.peak import STEPS, peak_flops_done, peak_kernel, peak_shapes
from espalier.targets.cpu import Isa

from .kernels import compiled

CHUNKS, VECTORS, STREAMS = 16, 4, 4
"""A copy is divided among the threads in so many parts, at most; and is unrolled to so many vectors. Reading goes on in
so many places at once: more than one keeps more requests to memory under way."""


@dataclass(frozen=True)
class Probe:
    """A call that does a known amount of work: `work` in FLOP or in bytes, both read and written ones."""

    run: Callable[[], object]
    work: int


def peak_probe(isa: Isa, target, threads: int = 1) -> Probe:
    """Independent multiply-adds on registers only, the same on each thread."""
    function = compiled(peak_kernel(isa, threads), target)
    arguments = [tvm.runtime.tensor(np.full(shape, 0.5, "float32")) for shape in peak_shapes(isa, threads).values()]
    return Probe(lambda: function(*arguments), peak_flops_done(isa, threads))


def peak_probe_int8(isa: Isa, target, threads: int = 1) -> Probe:
    """As `peak_probe` for sums of products of bytes; a multiplication and an addition count as two operations."""
    count = isa.registers - 8
    function = compiled(_dot_products(isa, count, threads), target)
    factors = tvm.runtime.tensor(np.full((2, isa.lanes), 0x01010101, "int32"))
    out = tvm.runtime.tensor(np.zeros((threads, isa.lanes), "int32"))
    return Probe(lambda: function(factors, out), 2 * threads * STEPS * count * isa.lanes * QUAD)


def copy_probe(isa: Isa, target, read_bytes: int, written_bytes: int, threads: int = 1) -> Probe:
    """Write `written_bytes`, each vector the sum of as many vectors as make up `read_bytes`; one of them is a copy."""
    reads = max(1, round(read_bytes / written_bytes))
    vectors = max(1, written_bytes // (4 * isa.lanes * VECTORS)) * VECTORS
    function = compiled(_copy(isa, reads, vectors, threads), target)
    x = tvm.runtime.tensor(np.ones((reads * vectors * isa.lanes,), "float32"))
    out = tvm.runtime.tensor(np.zeros((vectors * isa.lanes,), "float32"))
    return Probe(lambda: function(x, out), 4 * isa.lanes * vectors * (reads + 1))


def read_probe(isa: Isa, target, size: int, threads: int = 1) -> Probe:
    """Read `size` bytes once, `STREAMS` places at a time; what is read is added up."""
    vectors = size // (4 * isa.lanes * STREAMS * VECTORS * threads) * VECTORS
    function = compiled(_read(isa, vectors, threads), target)
    x = tvm.runtime.tensor(np.ones((threads, STREAMS, vectors * isa.lanes), "int32"))
    out = tvm.runtime.tensor(np.zeros((threads, isa.lanes), "int32"))
    return Probe(lambda: function(x, out), x.numpy().nbytes)


def _read(isa: Isa, vectors: int, threads: int) -> tirx.PrimFunc:
    lane = lanes_from(0, isa.lanes)

    def body(x, out) -> None:
        with loop(threads, threads > 1) as thread:
            total = Accumulators(STREAMS, isa.lanes, "int32")
            for i in range(STREAMS):
                total[i] = spread(T.int32(0), isa.lanes)
            with T.serial(vectors // VECTORS) as step:
                for number in range(VECTORS):
                    for i in range(STREAMS):
                        place = lanes_from((step * VECTORS + number) * isa.lanes, isa.lanes)
                        total[i] = total[i] + x[thread, i, place]
            for i in range(1, STREAMS):
                total[0] = total[0] + total[i]
            T.buffer_store(out, total[0], [thread, lane])

    arguments = [("x", (threads, STREAMS, vectors * isa.lanes), "int32"), ("out", (threads, isa.lanes), "int32")]
    return build_kernel("read", arguments, body)


def _dot_products(isa: Isa, count: int, threads: int) -> tirx.PrimFunc:
    lane = lanes_from(0, isa.lanes)

    def body(factors, out) -> None:
        with loop(threads, threads > 1) as thread:
            total = Accumulators(count, isa.lanes, "int32")
            x, weight = T.bind(factors[0, lane]), T.bind(factors[1, lane])
            for i in range(count):
                total[i] = spread(T.int32(0), isa.lanes)
            with T.serial(STEPS):
                for i in range(count):
                    total[i] = dot_quads(isa, total[i], x, weight)
            for i in range(1, count):
                total[0] = total[0] + total[i]
            T.buffer_store(out, total[0], [thread, lane])

    arguments = [("factors", (2, isa.lanes), "int32"), ("out", (threads, isa.lanes), "int32")]
    return build_kernel("peak", arguments, body)


def _copy(isa: Isa, reads: int, vectors: int, threads: int) -> tirx.PrimFunc:
    steps = vectors // VECTORS
    chunks = next(n for n in range(min(CHUNKS, steps), 0, -1) if steps % n == 0) if threads > 1 else 1

    def body(x, out) -> None:
        with loop(chunks, threads > 1) as chunk:
            with T.serial(steps // chunks) as step:
                first = T.bind((chunk * (steps // chunks) + step) * VECTORS)
                for i in range(VECTORS):
                    starts = [((first + i) * reads + k) * isa.lanes for k in range(reads)]
                    total = reduce(operator.add, (x[lanes_from(start, isa.lanes)] for start in starts))
                    T.buffer_store(out, total, [lanes_from((first + i) * isa.lanes, isa.lanes)])

    shapes = [("x", (reads * vectors * isa.lanes,), "float32"), ("out", (vectors * isa.lanes,), "float32")]
    return build_kernel("copy", shapes, body)
