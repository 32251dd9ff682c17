"""Convolutions by products of tiles equal the integers, bit for bit, however they are cut and whatever is listed."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.convolutions import halos, problem_of, problems
from oracles.integer_layers import check_convolution, quantized
from oracles.running import TILED, drawn, needs_tiles

from espalier.codegen.cpu.kernels.amx_panel import depth_of
from espalier.codegen.cpu.kernels.conv2d_amx import Band, can_multiply_tiles, cut, legal_bands
from espalier.codegen.cpu.kernels.int8 import as_kernels_take_it
from espalier.core.integer import LayerArithmetic
from espalier.core.layers import ActiveList, Conv2dSpec


def plain(c_in: int, c_out: int, image, kernel=(3, 3), active: ActiveList | None = None, batch: int = 1):
    """A layer of bytes with padding."""
    roles = ("x", "weight", "multiplier", *(["active"] if active else []))
    padding = (1, 1, 1, 1) if kernel == (3, 3) else (0, 0, 0, 0)
    one = LayerArithmetic(0 if active else 3, 24)
    spec = Conv2dSpec("conv", roles, active=active, padding=padding, format="int8", out_format="uint8", integer=one)
    return problem_of(spec, batch, c_in, c_out, image, kernel)


@needs_tiles
def test_drawn_layers():
    @drawn(8)
    @given(quantized(problems()), halos(), st.booleans(), st.integers(0, 2))
    def holds(problem, extra, clear_losers, seed):
        taken = dataclasses.replace(problem, spec=as_kernels_take_it(problem.spec, TILED))
        if can_multiply_tiles(taken, TILED):
            check_convolution(problem, TILED, "amx", extra, clear_losers, seed)

    holds()


@needs_tiles
@pytest.mark.parametrize(
    ("problem", "rows"),
    [
        (plain(64, 32, (7, 7), (1, 1)), 7),  # two steps of tiles whose last pixels are past the image
        (plain(80, 48, (14, 14)), 3),  # a band that remains, a block that remains, a piece past the last channel
        (plain(128, 16, (20, 5)), 20),
        (plain(16, 20, (30, 30)), 1),
    ],
    ids=["past-the-end", "rests", "tall", "shallow"],
)
def test_bands(problem, rows):
    check_convolution(problem, TILED, "amx", (0, 1, 0), band=Band(rows))


@needs_tiles
@pytest.mark.parametrize(("count", "granularity"), [(3, 32), (5, 16), (9, 8), (7, 4), (32, 4)])
def test_lists_of_inputs(count, granularity):
    check_convolution(plain(128, 32, (6, 9), active=ActiveList(count, granularity), batch=2), TILED, "amx", (0, 0, 0))


@pytest.mark.parametrize(("channels", "depth"), [(16, 16), (20, 32), (64, 64), (80, 48), (96, 48), (200, 64)])
def test_few_bytes_of_a_tile_are_past_the_last_channel(channels, depth):
    assert depth_of(plain(channels, 16, (4, 4))) == depth


@pytest.mark.parametrize("pixels", [1, 16, 17, 49, 230])
def test_a_cut_covers_every_pixel_with_tiles_that_the_processor_has(pixels):
    one = cut(pixels)
    assert one.rows <= 16
    assert pixels <= one.pixels < pixels + 2 * one.steps
    assert cut(pixels, one.rows) == one


def test_a_band_is_legal_whatever_the_width():
    assert list(legal_bands(plain(16, 16, (3, 3000)), TILED)) == [Band(1)]


def test_layers_without_blocks_of_channels_are_left_to_others():
    assert can_multiply_tiles(plain(16, 16, (4, 4)), TILED)
    assert not can_multiply_tiles(plain(3, 16, (4, 4)), TILED)
    assert not can_multiply_tiles(plain(16, 16, (4, 4)), dataclasses.replace(TILED, tiles=""))
