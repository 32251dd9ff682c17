"""Convolution problems as hypothesis draws them, and what checks one kernel family on one of them."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from espalier.codegen.cpu.kernels import conv2d_bfloat16 as bfloat16
from espalier.codegen.cpu.kernels import conv2d_blocked as blocked
from espalier.codegen.cpu.kernels import conv2d_planar as planar
from espalier.codegen.cpu.kernels.bfloat16 import multiplies_pairs
from espalier.codegen.cpu.kernels.depthwise_blocked import depthwise_blocked, pack_depthwise_weight
from espalier.codegen.cpu.kernels.lists import whole_blocks
from espalier.codegen.cpu.kernels.problem import ConvProblem
from espalier.codegen.cpu.kernels.winograd import conv2d_winograd, pack_winograd_weight
from espalier.codegen.cpu.kernels.winograd_tile import choose_winograd_tile
from espalier.codegen.cpu.layout import Layout
from espalier.core.layers import Activation, ActiveList, Conv2dSpec

from . import nn
from .running import assert_close_in, run_kernel
from .stored import load, store

CHANNELS = [1, 3, 17, 20, 64]
IMAGES = [(1, 1), (7, 3), (4, 9), (30, 30)]
ACTIVATIONS = [Activation(), Activation("relu"), Activation("clip", 0.0, 6.0), Activation("clip", -1.0, 0.5)]
GATES = {"none": (), "branch": ("pi", "winners"), "output": ("pi", "winners"), "listed": ("winners",)}
GRANULARITIES = (1, 4, 8, 16)


@st.composite
def lists(draw, channels: int, least: int) -> ActiveList | None:
    """A list over these channels with a granularity of at least `least`, if one divides them."""
    fitting = [one for one in GRANULARITIES if one >= least and channels % one == 0]
    if not fitting:
        return None
    granularity = draw(st.sampled_from(fitting))
    return ActiveList(draw(st.integers(1, channels // granularity)), granularity)


@st.composite
def geometries(draw):
    """(kernel, strides, padding, dilation, image) where at least one output pixel exists."""
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (2, 3), (5, 5), (1, 7), (7, 7)]))
    strides, dilation = draw(st.sampled_from([(1, 1), (2, 2), (1, 3)])), draw(st.sampled_from([(1, 1), (2, 2), (1, 3)]))
    padding = draw(st.sampled_from([(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 2, 3), (3, 3, 3, 3)]))
    image = draw(st.sampled_from(IMAGES))
    for axis in range(2):
        covered = image[axis] + padding[axis] + padding[axis + 2]
        assume(covered > dilation[axis] * (kernel[axis] - 1))
    return kernel, strides, padding, dilation, image


@st.composite
def problems(draw, least_granularity: int = 1, grouped: bool = False) -> ConvProblem:
    """A convolution layer; winners come in groups of at least `least_granularity` channels."""
    kernel, strides, padding, dilation, image = draw(geometries())
    groups = draw(st.sampled_from([2, 5, 20])) if grouped else 1
    c_in, c_out = (20, draw(st.sampled_from([20, 40]))) if grouped else [draw(st.sampled_from(CHANNELS)) for _ in "io"]
    winners, active = None, None  # a grouped convolution has neither
    if not grouped:
        winners, active = draw(st.none() | lists(c_out, least_granularity)), draw(st.none() | lists(c_in, 1))
    gate = draw(st.sampled_from(["branch", "output", "listed"])) if winners else "none"
    more = draw(st.lists(st.sampled_from(["bias", "residual"]), unique=True))
    roles = ("x", "weight", *more, *GATES[gate], *(["active"] if active else []))
    activation = draw(st.sampled_from(ACTIVATIONS))
    spec = Conv2dSpec("conv", roles, activation, gate, winners, active, strides, padding, dilation, groups)
    return problem_of(spec, draw(st.integers(1, 2)), c_in, c_out, image, kernel)


def problem_of(spec: Conv2dSpec, batch: int, c_in: int, c_out: int, image, kernel) -> ConvProblem:
    """The problem with the shapes that follow."""
    weight_shape, x_shape = (c_out, c_in // spec.groups, *kernel), (batch, c_in, *image)
    empty = np.zeros((1, 1, *image)), np.zeros((1, 1, *kernel))
    out_shape = nn.conv2d(*empty, spec.strides, spec.padding, spec.dilation).shape
    return ConvProblem(spec, x_shape, weight_shape, (batch, c_out, *out_shape[2:]))


def random_arrays(problem: ConvProblem) -> dict[str, np.ndarray]:
    """An array for each role, as the operator takes it; x is zero outside its list, pi outside the winners'."""
    random, spec = np.random.default_rng(0), problem.spec
    fan_in = np.float32(np.prod(problem.weight_shape[1:]))

    def some(one: ActiveList, channels: int) -> np.ndarray:
        order = random.random((problem.x_shape[0], channels // one.granularity)).argsort(1)
        return np.sort(order[:, : one.count], axis=1).astype(np.int32)

    arrays = {
        "x": random.standard_normal(problem.x_shape, np.float32),
        "weight": random.standard_normal(problem.weight_shape, np.float32) / fan_in**0.5,
        "bias": random.standard_normal(problem.channels_out, np.float32),
        "residual": random.standard_normal(problem.out_shape, np.float32),
    }
    if spec.format == "bfloat16":  # a residual is exact in the type in which it is stored
        arrays["weight"], arrays["residual"] = nn.bfloat16(arrays["weight"]), nn.bfloat16(arrays["residual"])
    if spec.winners:
        arrays["winners"] = some(spec.winners, problem.channels_out)
        mask = nn.listed_channels(arrays["winners"], spec.winners.granularity, problem.channels_out)
        arrays["pi"] = (mask * random.uniform(0.5, 2, mask.shape)).astype(np.float32)
    if spec.active:
        arrays["active"] = some(spec.active, problem.channels_in)
        mask = nn.listed_channels(arrays["active"], spec.active.granularity, problem.channels_in)
        arrays["x"] *= mask[..., None, None].astype(np.float32)
    return {role: arrays[role] for role in spec.roles}


@st.composite
def halos(draw):
    """Margins beyond what x needs, of the output, of the residual."""
    return tuple(draw(st.integers(0, 2)) for _ in range(3))


def in_bfloat16(problem: ConvProblem, rounds_output: bool) -> ConvProblem:
    """The same layer in the format bfloat16."""
    out_format = "bfloat16" if rounds_output else "float32"
    spec = dataclasses.replace(problem.spec, format="bfloat16", out_format=out_format)
    return dataclasses.replace(problem, spec=spec)


def check(problem, isa, kernel, packed, out_halo: int, out_block: int, clear_losers: bool = True) -> None:
    """Compare a kernel on packed arguments with the formula, and the rest of its output with zero."""
    arrays = random_arrays(problem)
    given_arrays = [packed.get(role, lambda array: array)(array) for role, array in arrays.items()]
    (stored,) = run_kernel(kernel, isa, *given_arrays)
    y, margin = load(stored, out_block, out_halo, problem.channels_out)
    expected = nn.layer(problem.spec, arrays)
    residual_passes = problem.spec.gate == "branch" and "residual" in problem.spec.roles
    if problem.spec.winners and not clear_losers and not residual_passes:
        written = nn.listed_channels(arrays["winners"], problem.spec.winners.granularity, problem.channels_out) > 0
        assert_close_in(problem.spec.out_format, y[written], expected[written])
        return
    assert_close_in(problem.spec.out_format, y, expected)
    np.testing.assert_array_equal(margin, 0)


def check_blocked(
    problem, isa, x_block: int, extra, clear_losers: bool = True, tile=None, residual_dtype: str = "float32"
) -> None:
    x_halo, spec = problem.halo_needed + extra[0], problem.spec
    pairs = multiplies_pairs(spec, isa)
    pack, build = (
        (bfloat16.pack_pairs, bfloat16.conv2d_bfloat16) if pairs else (blocked.pack_weight, blocked.conv2d_blocked)
    )
    layouts = (
        Layout(x_block, x_halo, spec.format),
        Layout(isa.lanes, extra[1], spec.out_format),
        Layout(isa.lanes, extra[2], residual_dtype),
    )
    packed = {
        "x": lambda x: store(x, x_block, x_halo, spec.format),
        "weight": lambda weight: pack(weight, isa.lanes, x_block),
        "bias": lambda bias: whole_blocks(bias, isa.lanes),
        "residual": lambda residual: store(residual, isa.lanes, extra[2], residual_dtype),
    }
    kernel = build(problem, isa, *layouts, clear_losers, tile)
    check(problem, isa, kernel, packed, extra[1], isa.lanes, clear_losers)


def check_planar(problem, isa, extra: tuple[int, int, int], clear_losers: bool = True) -> None:
    x_halo = problem.halo_needed + extra[0]
    unit = planar.weight_unit(problem, planar.choose_planar_tile(problem, isa))
    packed = {
        "x": lambda x: store(x, 1, x_halo, problem.spec.format),
        "weight": lambda weight: planar.pack_planar_weight(weight, unit),
        "residual": lambda residual: store(residual, 1, extra[2]),
    }
    layouts = Layout(1, x_halo, problem.spec.format), Layout(1, extra[1], problem.spec.out_format)
    kernel = planar.conv2d_planar(problem, isa, *layouts, Layout(1, extra[2]), clear_losers)
    check(problem, isa, kernel, packed, extra[1], 1, clear_losers)


@st.composite
def depthwise_problems(draw) -> ConvProblem:
    """A depthwise layer, dense or over the list of its input's gate."""
    kernel, strides, padding, dilation, image = draw(geometries())
    channels, more = (
        draw(st.sampled_from([1, 3, 17, 20, 64])),
        draw(st.sampled_from([(), ("bias",), ("bias", "residual")])),
    )
    winners = draw(st.none() | lists(channels, 1))
    roles = ("x", "weight", *more, *(["winners"] if winners else []))
    gate, activation = "listed" if winners else "none", draw(st.sampled_from(ACTIVATIONS))
    spec = Conv2dSpec("dw", roles, activation, gate, winners, None, strides, padding, dilation, groups=channels)
    return problem_of(spec, 2, channels, channels, image, kernel)


def check_depthwise(problem, isa, extra: tuple[int, int, int], clear_losers: bool) -> None:
    x_halo = problem.halo_needed + extra[0]
    packed = {
        "x": lambda x: store(x, isa.lanes, x_halo, problem.spec.format),
        "weight": lambda weight: pack_depthwise_weight(weight, isa.lanes),
        "bias": lambda bias: whole_blocks(bias, isa.lanes),
        "residual": lambda residual: store(residual, isa.lanes, extra[2]),
    }
    spec = problem.spec
    layouts = Layout(isa.lanes, x_halo, spec.format), Layout(isa.lanes, extra[1], spec.out_format)
    kernel = depthwise_blocked(problem, isa, *layouts, Layout(isa.lanes, extra[2]), clear_losers)
    check(problem, isa, kernel, packed, extra[1], isa.lanes, clear_losers)


def check_winograd(problem, isa, extra: tuple[int, int, int], clear_losers: bool = True, tile=None) -> None:
    x_halo = problem.halo_needed + extra[0]
    layouts = (
        Layout(isa.lanes, x_halo, problem.spec.format),
        Layout(isa.lanes, extra[1], problem.spec.out_format),
        Layout(isa.lanes, extra[2]),
    )
    outputs = (tile or choose_winograd_tile(problem, isa)).outputs
    packed = {
        "x": lambda x: store(x, isa.lanes, x_halo, problem.spec.format),
        "weight": lambda weight: pack_winograd_weight(weight, isa.lanes, outputs),
        "bias": lambda bias: whole_blocks(bias, isa.lanes),
        "residual": lambda residual: store(residual, isa.lanes, extra[2]),
    }
    kernel = conv2d_winograd(problem, isa, *layouts, clear_losers, tile)
    check(problem, isa, kernel, packed, extra[1], isa.lanes, clear_losers)
