"""A library that doubles its input, as TVM compiles it for the CPU."""

from __future__ import annotations

from pathlib import Path

import tvm
from tvm import relax


def export_doubling(path: Path) -> None:
    """Write a library whose main takes x, float32 [2, 3], to x + x."""
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(relax.op.add(x, x)))
    tvm.compile(builder.get(), "llvm").export_library(str(path))
