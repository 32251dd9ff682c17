"""Products of bfloat16 pairs with float32 sums, on processors that have an instruction for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm.script.ir_builder import tirx as T

PAIR = 2
"""Products that one 32-bit lane adds to its sum."""

_NAME = "espalier_dot_bfloat16"

_DEFINITION = f"""
declare <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float>, <32 x bfloat>, <32 x bfloat>)

define <16 x float> @{_NAME}(<16 x float> %sum, <16 x i32> %a, <16 x i32> %b) {{
  %x = bitcast <16 x i32> %a to <32 x bfloat>
  %y = bitcast <16 x i32> %b to <32 x bfloat>
  %result = call <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float> %sum, <32 x bfloat> %x, <32 x bfloat> %y)
  ret <16 x float> %result
}}
"""
"""TVM turns the type bfloat16 into others before LLVM sees it, so the one function that needs it is LLVM's own text."""


def with_dot(body: Callable) -> Callable:
    """A kernel's body that may emit `dot`; LLVM puts the instruction in place of each call."""

    def imported(*buffers) -> None:
        with T.attr(T.int32(0), "pragma_import_llvm", _DEFINITION):
            body(*buffers)

    return imported


def dot(total, a, b):
    """float32 total + the two products of each pair in int32 vectors a and b."""
    return T.call_extern(total.ty.dtype, _NAME, total, a, b)


def pairs_of(array: np.ndarray) -> np.ndarray:
    """float32 [..., 2] of bfloat16 values to int32 [...]; the first of a pair lies in the lower half."""
    halves = (np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return halves.view(np.int32)[..., 0]
