"""Small helpers for writing TensorIR kernels with the IR builder.

Kernels are written as loops over explicit vectors; accumulators are buffers of vector type in local
scope, which LLVM keeps in registers because every index is a constant. `noalias` matters: without it
each accumulator is stored back to memory after every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from espalier.core import ir_names
from espalier.core.layers import Activation

PARALLEL_MACS = 200_000
"""Kernels with less work than this run on one thread: waking the others costs more."""

_OPAQUE = 8


def build_kernel(layer: str, arguments: Sequence[tuple[str, Sequence[int], str]], body: Callable) -> tirx.PrimFunc:
    """A PrimFunc over buffers (name, shape, element type); `body` receives the buffers and emits the loops."""
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            body(*(T.arg(name, T.Buffer(tuple(shape), dtype)) for name, shape, dtype in arguments))
    return builder.get().with_attrs({"tirx.noalias": True, "op_pattern": _OPAQUE, ir_names.KERNEL_LAYER: layer})


def loop(extent: int, parallel: bool = False):
    """A counted loop, over the thread pool if asked."""
    return T.parallel(extent) if parallel else T.serial(extent)


def zeros(lanes: int):
    """A vector of float32 zeros."""
    return spread(T.float32(0), lanes)


def spread(scalar, lanes: int):
    """A vector of copies of a scalar; the scalar itself for one lane."""
    return T.broadcast(scalar, lanes) if lanes > 1 else scalar


def lanes_from(start, lanes: int, stride: int = 1):
    """The index of `lanes` values that lie `stride` apart."""
    return T.ramp(start, stride, lanes) if lanes > 1 else start


def vector_type(lanes: int) -> str:
    """The TensorIR name of a float32 vector."""
    return f"float32x{lanes}" if lanes > 1 else "float32"


def accumulators(count: int, lanes: int):
    """Registers for `count` vectors."""
    return T.alloc_buffer((count,), vector_type(lanes), scope="local")


def activated(activation: Activation, value, lanes: int):
    """The activation of a vector."""
    if activation.kind == "relu":
        return tirx.max(value, zeros(lanes))
    if activation.kind == "clip":
        low, high = (spread(T.float32(bound), lanes) for bound in (activation.low, activation.high))
        return tirx.min(tirx.max(value, low), high)
    return value


def when(condition, body: Callable, otherwise: Callable | None = None) -> None:
    """A branch on a run-time condition."""
    with T.If(condition):
        with T.Then():
            body()
        if otherwise:
            with T.Else():
                otherwise()


def tiles(extent: int, size: int) -> list[tuple[int, int, int]]:
    """(first, count, size) of equal tiles that cover `extent`, and of the smaller one that remains."""
    full, rest = divmod(extent, size)
    covered = [(0, full, size)] if full else []
    return covered + ([(full * size, 1, rest)] if rest else [])


def for_tile(number, extent: int, size: int, body: Callable) -> None:
    """Emit `body(first, size)` for tile `number` of `extent`, with a branch if the last tile is smaller."""
    full, rest = divmod(extent, size)
    if rest and full:
        when(number < full, lambda: body(number * size, size), lambda: body(full * size, rest))
    else:
        body(number * size, size if full else rest)
