"""Quantized layers as hypothesis draws them, and what checks one kernel on one of them."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import strategies as st

from espalier.codegen.cpu.kernels import conv2d_int8
from espalier.codegen.cpu.kernels.conv2d_amx import Band, conv2d_amx, pack_tiles
from espalier.codegen.cpu.kernels.conv2d_planar import choose_planar_tile, pack_planar_weight, weight_unit
from espalier.codegen.cpu.kernels.depthwise_blocked import pack_depthwise_weight
from espalier.codegen.cpu.kernels.depthwise_int8 import can_permute, depthwise_int8, pack_taps
from espalier.codegen.cpu.kernels.int8 import as_kernels_take_it
from espalier.codegen.cpu.kernels.problem import ConvProblem
from espalier.codegen.cpu.kernels.requantize import packed_constants, rounding_of
from espalier.codegen.cpu.layout import Layout
from espalier.core.integer import LayerArithmetic, ResidualArithmetic
from espalier.core.layers import LayerSpec

from . import integers, nn
from .running import run_kernel
from .stored import load, store

PLAIN = ResidualArithmetic(0)
LARGEST = (1 << 24) - 1


@st.composite
def residuals(draw) -> ResidualArithmetic:
    """Plain ones and others, with and without limits of their own; with limits also those with long multipliers."""
    if draw(st.booleans()):
        return ResidualArithmetic(draw(st.sampled_from([0, 3, 128])))
    if draw(st.booleans()):
        own, other = (draw(st.sampled_from([1 << 22, 3 << 22, 12_345_678, LARGEST])) for _ in range(2))
        zero, shift = draw(st.sampled_from([0, 5, 255])), draw(st.sampled_from([13, 23, 24]))
        return ResidualArithmetic(zero, own, other, shift, *draw(st.sampled_from([(-128, 127), (-40, 215)])))
    own, other = (draw(st.sampled_from([1, 1000, 700_000, (1 << 20) - 1])) for _ in range(2))
    limits = draw(st.sampled_from([(None, None), (-128, 127), (-40, 215)]))
    zero, shift = draw(st.sampled_from([0, 5, 255])), draw(st.sampled_from([0, 7, 19]))
    return ResidualArithmetic(zero, own, other, shift, *limits)


@st.composite
def arithmetics(draw, spec: LayerSpec) -> LayerArithmetic:
    """The integers of a layer with these roles."""
    low, high = draw(st.sampled_from([(0, 255), (0, 255), (0, 200), (7, 130)]))
    return LayerArithmetic(
        x_zero=0 if spec.active else draw(st.sampled_from([0, 1, 128, 255])),
        shift=draw(st.sampled_from([0, 8, 24, 30, 34, 45])),
        zero=min(max(draw(st.sampled_from([0, 1, 13, 128])), low), high),
        low=low,
        high=high,
        residual=draw(residuals()) if "residual" in spec.roles else None,
        pi_shift=draw(st.sampled_from([0, 4, 7, 12])),
    )


@st.composite
def quantized(draw, problems) -> ConvProblem:
    """A drawn problem in the format "int8"; sometimes with an output in float32."""
    problem = draw(problems)
    spec = problem.spec
    is_real = not {"pi", "winners", "residual"} & set(spec.roles) and draw(st.booleans())
    spec = dataclasses.replace(
        spec,
        roles=(*spec.roles, "scale" if is_real else "multiplier"),
        format="int8",
        out_format="float32" if is_real else "uint8",
        integer=draw(arithmetics(spec)),
    )
    return dataclasses.replace(problem, spec=spec)


def random_arrays(spec: LayerSpec, x_shape, weight_shape, out_shape, seed: int = 0) -> dict[str, np.ndarray]:
    """An array for each role; sums come out at the scale of bytes, or the extremes where the seed is 1."""
    random, one = np.random.default_rng(seed), spec.integer
    channels, extreme = weight_shape[0], seed == 1
    arrays = {
        "x": random.choice([0, 255], x_shape) if extreme else random.integers(0, 256, x_shape),
        "weight": random.choice([-128, 127], weight_shape) if extreme else random.integers(-128, 128, weight_shape),
        "bias": random.integers(-(1 << 20), 1 << 20, channels),
        "residual": random.integers(0, 256, out_shape),
        "scale": random.uniform(0.001, 1, channels).astype(np.float32),
    }
    spread_of_sums = 74 * 74 * np.prod(weight_shape[1:]) ** 0.5
    wanted = 2.0**one.shift * 60 / spread_of_sums * random.uniform(0.3, 3, channels)
    if spec.winners:
        order = random.random((x_shape[0], channels // spec.winners.granularity)).argsort(1)
        arrays["winners"] = np.sort(order[:, : spec.winners.count], axis=1)
        mask = nn.listed_channels(arrays["winners"], spec.winners.granularity, channels)
        arrays["pi"] = mask * random.integers(0, 256, mask.shape)
        wanted /= 100 if "pi" in spec.roles else 1
    largest = (1 << 16) - 1 if "pi" in spec.roles else LARGEST
    arrays["multiplier"] = np.clip(wanted, 0, largest)
    if extreme:
        arrays["multiplier"][::2], arrays["bias"][1::2] = largest, 1 << 29
    if spec.active:
        order = random.random((x_shape[0], x_shape[1] // spec.active.granularity)).argsort(1)
        arrays["active"] = np.sort(order[:, : spec.active.count], axis=1)
        mask = nn.listed_channels(arrays["active"], spec.active.granularity, x_shape[1])
        arrays["x"] = arrays["x"] * mask.reshape(*mask.shape, *[1] * (len(x_shape) - 2))
    types = {"x": "uint8", "residual": "uint8", "pi": "uint8", "weight": "int8", "scale": "float32"}
    return {role: arrays[role].astype(types.get(role, "int32")) for role in spec.roles}


def check_convolution(
    problem: ConvProblem, isa, family: str, extra, clear_losers: bool = True, seed: int = 0, band: Band | None = None,
) -> None:  # fmt: skip
    """Compare a kernel with the integers, and the margin of its output with the layout's fill.

    band: of the family "amx", by default its own.
    """
    arrays = random_arrays(problem.spec, problem.x_shape, problem.weight_shape, problem.out_shape, seed)
    expected = integers.layer(problem.spec, arrays)
    rounding = rounding_of(problem.spec, arrays, isa)
    spec = as_kernels_take_it(problem.spec, isa)
    for role in {"pi", "mask"} & set(spec.roles) - arrays.keys():
        mask = nn.listed_channels(arrays["winners"], problem.spec.winners.granularity, problem.channels_out)
        arrays[role] = mask.astype(np.uint8)
    lanes = 1 if family == "planar" else isa.lanes
    arrays |= packed_constants(spec, arrays, lanes, rounding)
    one = dataclasses.replace(problem, spec=spec, rounding=rounding)
    x_block = {"planar": 1, "quads": 4}.get(family, lanes)
    layouts = [
        Layout(x_block, problem.halo_needed + extra[0], "uint8", spec.integer.x_zero),
        Layout(lanes, extra[1], spec.out_format, 9 * (spec.out_format == "uint8")),
        Layout(lanes, extra[2], "uint8"),
    ]
    arrays["x"] = stored_as(arrays["x"], layouts[0])
    if "residual" in arrays:
        arrays["residual"] = stored_as(arrays["residual"], layouts[2])
    if family == "depthwise":
        weight = arrays["weight"]
        packed = pack_taps(weight, one) if can_permute(one, isa) else pack_depthwise_weight(weight, lanes)
        arrays["weight"], kernel = packed, depthwise_int8(one, isa, *layouts, clear_losers)
    elif family == "planar":
        arrays["weight"] = pack_planar_weight(arrays["weight"], weight_unit(one, choose_planar_tile(one, isa)))
        kernel = conv2d_int8.conv2d_planar_int8(one, isa, *layouts, clear_losers)
    elif family == "amx":
        arrays["weight"] = pack_tiles(arrays["weight"], one)
        kernel = conv2d_amx(one, isa, *layouts, clear_losers, band)
    else:
        arrays["weight"] = conv2d_int8.pack_quads(arrays["weight"], lanes, x_block)
        kernel = conv2d_int8.conv2d_int8(one, isa, *layouts, clear_losers)
    (stored,) = run_kernel(kernel, isa, *[arrays[role] for role in spec.roles])
    check_stored(stored, layouts[1], expected, problem.spec, arrays, clear_losers or spec.winners is None)


def stored_as(x: np.ndarray, layout: Layout) -> np.ndarray:
    return store(x, layout.block, layout.halo, layout.dtype, layout.fill)


def check_stored(stored, layout: Layout, expected, spec: LayerSpec, arrays: dict, everything: bool) -> None:
    """Bit for bit; without `everything` only what wins, unless a residual passes the losers."""
    y, margin = load(stored, layout.block, layout.halo, expected.shape[1])
    if not everything and not (spec.gate == "branch" and "residual" in spec.roles):
        written = nn.listed_channels(arrays["winners"], spec.winners.granularity, expected.shape[1]) > 0
        np.testing.assert_array_equal(y[written], expected[written])
        return
    np.testing.assert_array_equal(y, expected)
    if layout.dtype == "uint8":
        np.testing.assert_array_equal(margin, layout.fill)
