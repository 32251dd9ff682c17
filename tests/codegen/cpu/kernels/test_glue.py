"""Layout changes, pools, means, sums and concatenations on stored tensors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import nn
from oracles.running import assert_close, drawn, every_isa, run_kernel
from oracles.stored import load, store

from espalier.codegen.cpu.kernels import glue
from espalier.codegen.cpu.layout import PLAIN, Layout

CHANNELS = st.sampled_from([1, 3, 17, 20, 64])
IMAGES = st.sampled_from([(1, 1), (7, 3), (6, 9), (30, 30)])
HALOS = st.integers(0, 2)


def tensor(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def stored_as(x: np.ndarray, layout: Layout) -> np.ndarray:
    return store(x, layout.block, layout.halo, layout.dtype)


def check_stored(stored, layout: Layout, expected, exact: bool = False) -> None:
    """Compare the inside with `expected`; the halo and the lanes past the last channel are zero."""
    y, margin = load(stored, layout.block, layout.halo, expected.shape[1])
    (np.testing.assert_array_equal if exact else assert_close)(y, expected)
    np.testing.assert_array_equal(margin, 0)


@pytest.mark.parametrize(("block", "halo"), [(1, 0), (1, 2), (8, 0), (16, 1)])
@pytest.mark.parametrize("channels", [1, 16, 20])
def test_physical_shape_is_what_is_stored(block, halo, channels):
    x = tensor(2, channels, 3, 4)
    assert Layout(block, halo).physical(x.shape) == stored_as(x, Layout(block, halo)).shape


@every_isa
def test_change_layout(isa):
    @drawn(12)
    @given(st.integers(1, 2), CHANNELS, IMAGES, HALOS, HALOS, st.sampled_from(["in", "out", "halo", "plain"]))
    def holds(batch, channels, image, halo, new_halo, change):
        source = Layout(isa.lanes if change in ("out", "halo") else 1, halo)
        result = Layout(isa.lanes if change in ("in", "halo") else 1, new_halo)
        x = tensor(batch, channels, *image)
        (stored,) = run_kernel(glue.change_layout(x.shape, source, result), isa, stored_as(x, source))
        check_stored(stored, result, x, exact=True)

    holds()


@every_isa
def test_pool(isa):
    @drawn(15)
    @given(
        st.sampled_from([("max", False), ("avg", False), ("avg", True)]),
        st.sampled_from([((2, 2), (2, 2)), ((3, 3), (2, 2)), ((3, 2), (1, 3)), ((1, 1), (1, 1))]),
        st.sampled_from([(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 1, 0)]),
        st.sampled_from([(1, 1), (2, 1)]),
        CHANNELS,
        IMAGES,
        st.booleans(),
        st.booleans(),
        st.tuples(HALOS, HALOS),
    )
    def holds(kind, window, padding, dilation, channels, image, in_blocks, ceil_mode, halos):
        size, strides = window
        assume(all(p < s for p, s in zip(padding, size * 2)))  # no window lies in the padding alone
        assume(dilation == (1, 1) or padding == (0, 0, 0, 0))
        free = [image[i] + padding[i] + padding[i + 2] - dilation[i] * (size[i] - 1) - 1 for i in range(2)]
        steps = [-(-free[i] // strides[i]) if ceil_mode else free[i] // strides[i] for i in range(2)]
        assume(all(steps[i] >= 0 and steps[i] * strides[i] - padding[i] < image[i] for i in range(2)))
        x, block = tensor(2, channels, *image), isa.lanes if in_blocks else 1
        expected = nn.pool2d(x, kind[0], size, strides, padding, dilation, kind[1], ceil_mode)
        pool = glue.Pool(kind[0], size, strides, padding, dilation, kind[1])
        source, result = Layout(block, halos[0]), Layout(block, halos[1])
        (stored,) = run_kernel(glue.pool2d(pool, x.shape, expected.shape, source, result), isa, stored_as(x, source))
        check_stored(stored, result, expected)

    holds()


@every_isa
def test_spatial_mean(isa):
    @drawn(8)
    @given(st.integers(1, 2), CHANNELS, IMAGES, st.booleans(), HALOS)
    def holds(batch, channels, image, in_blocks, halo):
        x, layout = tensor(batch, channels, *image), Layout(isa.lanes if in_blocks else 1, halo)
        (mean,) = run_kernel(glue.spatial_mean(x.shape, layout), isa, stored_as(x, layout))
        assert_close(mean, x.astype(np.float64).mean((2, 3)))

    holds()


@every_isa
@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize("halos", [(0, 0, 0), (1, 0, 2), (0, 2, 1)])
def test_pointwise(isa, in_blocks, halos):
    block = isa.lanes if in_blocks else 1
    left, right, result = (Layout(block, halo) for halo in halos)
    x, y = tensor(2, 17, 7, 3), tensor(2, 17, 3, 7).reshape(2, 17, 7, 3)
    kernel = glue.pointwise(x.shape, [left, right], result, glue.add)
    check_stored(run_kernel(kernel, isa, stored_as(x, left), stored_as(y, right))[0], result, x + y, exact=True)
    kernel = glue.pointwise(x.shape, [left], result, glue.relu)
    check_stored(run_kernel(kernel, isa, stored_as(x, left))[0], result, np.maximum(x, 0), exact=True)


@every_isa
@pytest.mark.parametrize("channels", [(16, 32, 7), (16,), (32, 16)])
@pytest.mark.parametrize("halo", [0, 2])
def test_concat_of_blocks(isa, channels, halo):
    """Every part but the last has whole blocks."""
    check_concat(isa, isa.lanes, channels, halo)


@every_isa
@pytest.mark.parametrize("channels", [(1, 3, 17), (20, 5)])
@pytest.mark.parametrize("halo", [0, 1])
def test_concat_of_planes(isa, channels, halo):
    check_concat(isa, 1, channels, halo)


def check_concat(isa, block: int, channels, halo: int) -> None:
    parts = [tensor(2, count, 5, 6) for count in channels]
    layouts = [Layout(block, number % 2) for number in range(len(parts))]
    whole, result = np.concatenate(parts, 1), Layout(block, halo)
    kernel = glue.concat_channels([part.shape for part in parts], layouts, whole.shape, result)
    (stored,) = run_kernel(kernel, isa, *map(stored_as, parts, layouts))
    check_stored(stored, result, whole, exact=True)


def test_work_that_is_shared_among_threads():
    """More values than `PARALLEL_VALUES`."""
    from espalier.targets.cpu import ISAS

    isa = ISAS[-1]
    x, blocks = tensor(2, 40, 64, 64), Layout(isa.lanes, 1)
    assert x.size > glue.PARALLEL_VALUES
    (stored,) = run_kernel(glue.change_layout(x.shape, PLAIN, blocks), isa, x)
    check_stored(stored, blocks, x, exact=True)
    (mean,) = run_kernel(glue.spatial_mean(x.shape, blocks), isa, stored)
    assert_close(mean, x.astype(np.float64).mean((2, 3)))
    (total,) = run_kernel(glue.pointwise(x.shape, [blocks, blocks], blocks, glue.add), isa, stored, stored)
    check_stored(total, blocks, 2 * x, exact=True)


TYPES = st.sampled_from(["float32", "bfloat16"])


@every_isa
def test_change_between_types(isa):
    @drawn(10)
    @given(CHANNELS, IMAGES, st.tuples(HALOS, HALOS), st.sampled_from([1, 2, isa.lanes]), st.booleans(), TYPES, TYPES)
    def holds(channels, image, halos, block, to_plain, before, after):
        blocks = (block, 1) if to_plain else (1, block)
        source, result = (Layout(*one) for one in zip(blocks, halos, (before, after)))
        x = tensor(2, channels, *image)
        (stored,) = run_kernel(glue.change_layout(x.shape, source, result), isa, stored_as(x, source))
        check_stored(stored, result, x if before == after == "float32" else nn.bfloat16(x), exact=True)

    holds()


@every_isa
@pytest.mark.parametrize("halos", [(0, 1), (1, 0)])
def test_bfloat16_between_layers(isa, halos):
    """What chooses among values keeps bfloat16, what computes new ones gives float32."""
    source, result = (Layout(isa.lanes, halo, "bfloat16") for halo in halos)
    wide, x = Layout(isa.lanes, halos[1]), nn.bfloat16(tensor(2, 20, 6, 9))
    pool = glue.Pool("max", (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), False)
    largest = nn.pool2d(x, "max", (3, 3), (2, 2), (1, 1, 1, 1))
    kernel = glue.pool2d(pool, x.shape, largest.shape, source, result)
    check_stored(run_kernel(kernel, isa, stored_as(x, source))[0], result, largest, exact=True)
    kernel = glue.pointwise(x.shape, [source], result, glue.relu)
    check_stored(run_kernel(kernel, isa, stored_as(x, source))[0], result, np.maximum(x, 0), exact=True)
    kernel = glue.pointwise(x.shape, [source, wide], wide, glue.add)
    check_stored(run_kernel(kernel, isa, stored_as(x, source), stored_as(x / 3, wide))[0], wide, x + x / 3, exact=True)
    (mean,) = run_kernel(glue.spatial_mean(x.shape, source), isa, stored_as(x, source))
    assert_close(mean, x.astype(np.float64).mean((2, 3)))
    whole = np.concatenate([x[:, :16], x], 1)
    kernel = glue.concat_channels([(2, 16, 6, 9), x.shape], [source, source], whole.shape, result)
    (stored,) = run_kernel(kernel, isa, stored_as(x[:, :16], source), stored_as(x, source))
    check_stored(stored, result, whole, exact=True)
