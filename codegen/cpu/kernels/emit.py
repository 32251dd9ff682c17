"""Small helpers for writing TensorIR kernels with the IR builder.

Kernels are written as loops over explicit vectors; sums are kept in `Accumulators`, which LLVM turns into
registers because every index is a constant.
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

PREFETCH_BYTES, PREFETCH_STEPS = 1 << 20, 128
"""Weights of more than so many bytes are fetched ahead, about so many vectors before their use."""

_OPAQUE = 8
_STACK_BYTES = 1023


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


def vector_type(kind: str, lanes: int) -> str:
    """The type of a vector of this many values of a kind; of the value itself for one lane."""
    return f"{kind}x{lanes}" if lanes > 1 else kind


def spread(scalar, lanes: int):
    """A vector of copies of a scalar; the scalar itself for one lane."""
    return T.broadcast(scalar, lanes) if lanes > 1 else scalar


def lanes_from(start, lanes: int, stride: int = 1):
    """The index of `lanes` values that lie `stride` apart."""
    return T.ramp(start, stride, lanes) if lanes > 1 else start


class Accumulators:
    """Vectors of 32-bit elements that are kept in registers over a loop.

    They are buffers on the stack of less than a kilobyte each: larger ones, and those of scope "local", TVM takes
    from a workspace on the heap, where LLVM cannot be sure to find all of them a register.
    """

    def __init__(self, count: int, lanes: int, element: str = "float32"):
        self._in_one = _STACK_BYTES // (4 * lanes)
        sizes = [min(self._in_one, count - first) for first in range(0, count, self._in_one)]
        kind = vector_type(element, lanes)
        self._buffers = [T.alloc_buffer((size,), kind, scope="global") for size in sizes]

    def __getitem__(self, number: int):
        return self._buffers[number // self._in_one][number % self._in_one]

    def __setitem__(self, number: int, value) -> None:
        T.buffer_store(self._buffers[number // self._in_one], value, [number % self._in_one])


def prefetch(buffer, index: list) -> None:
    """Ask for the cache line of a value that will be read; the index may lie past the buffer's end."""
    read, keep, data = T.int32(0), T.int32(3), T.int32(1)
    T.evaluate(T.call_llvm_intrin("void", "llvm.prefetch", T.address_of(buffer[tuple(index)]), read, keep, data))


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
