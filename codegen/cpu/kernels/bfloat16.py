"""Products of bfloat16 pairs with float32 sums, on processors that have an instruction for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm.script.ir_builder import tirx as T

from espalier.core.layers import LayerSpec
from espalier.targets.cpu import Isa

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


def multiplies_pairs(spec: LayerSpec, isa: Isa) -> bool:
    """Whether a layer can be, and should be, computed with products of bfloat16 pairs."""
    return spec.format == "bfloat16" and obstacle(spec, isa) is None


def obstacle(spec: LayerSpec, isa: Isa) -> str | None:
    """Why a layer cannot be computed with products of bfloat16 pairs, None if it can."""
    if not isa.bfloat16:
        return "the target has no instruction for their products"
    if getattr(spec, "groups", 1) > 1:
        return "a grouped convolution has few products to a sum"
    for listed, least in ((spec.winners, isa.lanes), (spec.active, PAIR)):
        if listed and listed.granularity % least:
            return f"granularity {listed.granularity} is no multiple of {least}"
    return None


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
