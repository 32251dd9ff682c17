"""Values come out of stored tensors as they went in, rounded to the nearest bfloat16 where that is the type."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from oracles.running import PAIRS, every_isa, needs_pairs, run_kernel
from tvm.script.ir_builder import tirx as T

from espalier.codegen.cpu.kernels.emit import build_kernel, lanes_from
from espalier.codegen.cpu.kernels.stored import load, store
from espalier.codegen.cpu.layout import Layout
from espalier.passes.quantize.round_to_short_float import rounded_to_bfloat16

HALVES = Layout(dtype="bfloat16")
SPECIAL = [0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7F7F7FFF, 0x7F7F8000, 0x7FC00000, 0x7F800001, 0xFFFFFFFF]
TIES = [0x3F808000, 0x3F818000, 0x3F808001, 0x3F817FFF, 0xBF808000, 0xBF818000, 0x3FFF8000]
SUBNORMALS = [0x00000001, 0x00008000, 0x00018000, 0x007FFFFF, 0x807FFFFF]


def bit_patterns(subnormals: bool) -> np.ndarray:
    """float32 [1024]: the edges, then values of every sign and exponent."""
    drawn = np.random.default_rng(0).integers(0, 1 << 32, 4096, np.uint32)
    is_subnormal = (drawn >> 23 & 0xFF) == 0
    bits = [*SPECIAL, *TIES, *(SUBNORMALS if subnormals else []), *drawn[~is_subnormal]]
    return np.array(bits[:1024], np.uint32).view(np.float32)


def as_bfloat16(x: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return x.astype(ml_dtypes.bfloat16).astype(np.float32)


def through_memory(x: np.ndarray, isa, lanes: int, native) -> np.ndarray:
    """The values after a store and a load, so many at a time."""

    def body(given, halves, out) -> None:
        with T.serial(len(x) // lanes) as step:
            place = [lanes_from(step * lanes, lanes)]
            store(halves, HALVES, place, given[tuple(place)], native)
            T.buffer_store(out, load(halves, HALVES, place), place)

    buffers = [("x", x.shape, "float32"), ("halves", x.shape, "uint16"), ("out", x.shape, "float32")]
    return run_kernel(build_kernel("", buffers, body), isa, x)[1]


@every_isa
@pytest.mark.parametrize("vectors", [False, True])
def test_rounding_by_arithmetic(isa, vectors):
    x = bit_patterns(subnormals=True)
    np.testing.assert_array_equal(through_memory(x, isa, isa.lanes if vectors else 1, None), as_bfloat16(x))


@needs_pairs
def test_rounding_by_the_instruction():
    x = bit_patterns(subnormals=False)
    np.testing.assert_array_equal(through_memory(x, PAIRS, PAIRS.lanes, PAIRS), as_bfloat16(x))
    tiny = np.resize(np.array(SUBNORMALS, np.uint32).view(np.float32), PAIRS.lanes)
    assert np.abs(through_memory(tiny, PAIRS, PAIRS.lanes, PAIRS)).max() <= 2.0**-126


def test_rounding_of_constants():
    x = bit_patterns(subnormals=True)
    np.testing.assert_array_equal(rounded_to_bfloat16(x), as_bfloat16(x))
