"""Multiply-adds in registers: what a core can do at best, and whether it does it undisturbed."""

from __future__ import annotations

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.targets.cpu import Isa

from .emit import Accumulators, build_kernel, lanes_from, loop, zeros

STEPS = 100_000
"""Of the loop over multiply-adds: hundreds of microseconds, long against the call."""


def peak_shapes(isa: Isa, threads: int) -> dict[str, tuple[int, int]]:
    """Shapes of the kernel's arguments by name, its output last."""
    return {"factors": (2, isa.lanes), "out": (threads, isa.lanes)}


def peak_flops_done(isa: Isa, threads: int) -> int:
    """Floating-point operations of one call, two for each multiply-add."""
    return 2 * threads * STEPS * _sums(isa) * isa.lanes


def peak_kernel(isa: Isa, threads: int) -> tirx.PrimFunc:
    """Independent sums of products, the same on each thread; arguments as in `peak_shapes`."""
    lane = lanes_from(0, isa.lanes)

    def body(factors, out) -> None:
        with loop(threads, threads > 1) as thread:
            total = Accumulators(_sums(isa), isa.lanes)
            factor, term = T.bind(factors[0, lane]), T.bind(factors[1, lane])
            for i in range(_sums(isa)):
                total[i] = zeros(isa.lanes)
            with T.serial(STEPS):
                for i in range(_sums(isa)):
                    total[i] = total[i] * factor + term
            for i in range(1, _sums(isa)):
                total[0] = total[0] + total[i]
            T.buffer_store(out, total[0], [thread, lane])

    return build_kernel("peak", [(name, shape, "float32") for name, shape in peak_shapes(isa, threads).items()], body)


def _sums(isa: Isa) -> int:
    return isa.registers - 8
