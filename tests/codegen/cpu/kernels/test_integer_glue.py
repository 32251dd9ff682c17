"""What lies between quantized layers gives the integers, bit for bit."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import integers, nn
from oracles.running import BYTES, drawn, run_kernel
from oracles.stored import load, store

from espalier.codegen.cpu.kernels import glue, integer_glue
from espalier.codegen.cpu.layout import PLAIN, Layout
from espalier.core.integer import AddSpec, DequantizeSpec, MeanPoolSpec, QuantizeSpec
from espalier.targets.cpu import ISAS

GENERIC = ISAS[-1]
CHANNELS = st.sampled_from([1, 3, 17, 20, 64])
IMAGES = st.sampled_from([(1, 1), (7, 3), (6, 9), (30, 30)])
LAYOUTS = st.builds(Layout, st.sampled_from([1, 4, 16]), st.integers(0, 2), st.just("uint8"), st.sampled_from([0, 77]))
SCALES, ZEROS = st.sampled_from([0.02, 1.0, 3e-5]), st.sampled_from([0, 3, 128])
QUANTIZE = st.builds(QuantizeSpec, st.just("q"), SCALES, ZEROS, st.just(0), st.just(200))


def some_bytes(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape).astype(np.uint8)


def stored_as(x: np.ndarray, layout: Layout) -> np.ndarray:
    return store(x, layout.block, layout.halo, layout.dtype, layout.fill)


def check(stored, layout: Layout, expected) -> None:
    y, margin = load(stored, layout.block, layout.halo, expected.shape[1])
    np.testing.assert_array_equal(y, expected)
    if layout.dtype == "uint8":
        np.testing.assert_array_equal(margin, layout.fill)


def reals(*shape: int) -> np.ndarray:
    """Values of every size, among them halves of the scales."""
    random = np.random.default_rng(sum(shape))
    values = random.standard_normal(shape) * 10.0 ** random.integers(-5, 5, shape)
    halves = (random.integers(-300, 300, shape) + 0.5) * random.choice([1.0, 3e-5, 0.02], shape)
    return np.where(random.random(shape) < 0.5, values, halves).astype(np.float32)


@drawn(16)
@given(QUANTIZE, st.integers(1, 2), CHANNELS, IMAGES, LAYOUTS)
def test_quantize(spec, batch, channels, image, layout):
    x = reals(batch, channels, *image)
    expected = integers.quantize(spec, x)
    if layout.block % 4 == 0:
        kernel = integer_glue.quantize_planes(spec, x.shape, PLAIN, layout)
        check(run_kernel(kernel, BYTES[0], x)[0], layout, expected)
    source = Layout(layout.block, 1)
    kernel = glue.pointwise(x.shape, [source], layout, partial(integer_glue.quantized, spec))
    check(run_kernel(kernel, BYTES[0], stored_as(x, source))[0], layout, expected)
    flat = x.reshape(batch, -1)
    kernel = integer_glue.elementwise(flat.shape, ["float32"], "uint8", partial(integer_glue.quantized, spec))
    np.testing.assert_array_equal(run_kernel(kernel, GENERIC, flat)[0].reshape(x.shape), expected)


@drawn(8)
@given(st.sampled_from([(0.02, 0), (1e-20, 128), (3.7, 255)]), CHANNELS, IMAGES, LAYOUTS)
def test_dequantize(numbers, channels, image, source):
    spec, x, result = DequantizeSpec("d", *numbers), some_bytes(2, channels, *image), Layout(source.block, 1)
    kernel = glue.pointwise(x.shape, [source], result, partial(integer_glue.dequantized, spec))
    y, _ = load(run_kernel(kernel, BYTES[0], stored_as(x, source))[0], result.block, 1, channels)
    np.testing.assert_array_equal(y, integers.dequantize(spec, x))


@drawn(12)
@given(
    st.tuples(*[st.sampled_from([0, 9, 255])] * 3),
    st.tuples(*[st.sampled_from([1, 524288, (1 << 20) - 1])] * 2),
    st.sampled_from([0, 1, 19, 20, 29, 62]),
    CHANNELS,
    LAYOUTS,
)
def test_add(zeros, factors, shift, channels, layout):
    spec = AddSpec("a", zeros[0], zeros[1], *factors, shift, zeros[2], 0, 250)
    x, y = some_bytes(2, channels, 6, 9), some_bytes(2, channels, 9, 6).reshape(2, channels, 6, 9)
    other = Layout(layout.block, 1, "uint8")
    kernel = glue.pointwise(x.shape, [layout, other], layout, partial(integer_glue.added, spec))
    stored = run_kernel(kernel, BYTES[0], stored_as(x, layout), stored_as(y, other))[0]
    check(stored, layout, integers.add(spec, x, y))


@drawn(8)
@given(st.sampled_from([(1 << 23, 28, 0), ((1 << 24) - 1, 32, 128), (1, 0, 3)]), CHANNELS, IMAGES, LAYOUTS)
def test_mean_pool(numbers, channels, image, layout):
    spec, x = MeanPoolSpec("m", 3, *numbers), some_bytes(2, channels, *image)
    stored = run_kernel(integer_glue.mean_pool(spec, x.shape, layout), BYTES[0], stored_as(x, layout))[0]
    np.testing.assert_array_equal(stored, integers.mean_pool(spec, x))


@drawn(8)
@given(CHANNELS, IMAGES, LAYOUTS, LAYOUTS)
def test_layouts_and_maxima_of_bytes(channels, image, source, result):
    x = some_bytes(2, channels, *image)
    check(run_kernel(glue.change_layout(x.shape, source, result), GENERIC, stored_as(x, source))[0], result, x)
    pool, result = glue.Pool("max", (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), False), Layout(source.block, 1, "uint8", 9)
    expected = nn.pool2d(x, "max", (3, 3), (2, 2), (1, 1, 1, 1))
    kernel = glue.pool2d(pool, x.shape, expected.shape, source, result)
    check(run_kernel(kernel, GENERIC, stored_as(x, source))[0], result, expected)


@pytest.mark.parametrize("granularity", [1, 4])
def test_a_mask_of_winners(granularity):
    winners = np.array([[0, 3], [1, 2]], np.int32)
    mask = run_kernel(integer_glue.mask_of(granularity, 2, 5 * granularity, 2), GENERIC, winners)[0]
    np.testing.assert_array_equal(mask, nn.listed_channels(winners, granularity, 5 * granularity))
