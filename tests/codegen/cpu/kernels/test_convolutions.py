"""Every convolution kernel computes what the layer's formula says, whatever the shapes, lists and layouts."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import nn
from oracles.running import PAIRS, assert_close_in, drawn, every_isa, needs_pairs, run_kernel
from oracles.stored import load, store

from espalier.codegen.cpu.kernels import conv2d_bfloat16 as bfloat16
from espalier.codegen.cpu.kernels import conv2d_blocked as blocked
from espalier.codegen.cpu.kernels import conv2d_planar as planar
from espalier.codegen.cpu.kernels.bfloat16 import multiplies_pairs
from espalier.codegen.cpu.kernels.depthwise_blocked import depthwise_blocked, pack_depthwise_weight
from espalier.codegen.cpu.kernels.lists import whole_blocks
from espalier.codegen.cpu.kernels.problem import ConvProblem
from espalier.codegen.cpu.layout import Layout
from espalier.core.layers import Activation, ActiveList, Conv2dSpec

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


@every_isa
def test_blocked(isa):
    @drawn(20)
    @given(problems(isa.lanes), st.booleans(), halos(), st.booleans())
    def holds(problem, plain_input, extra, clear_losers):
        x_block = 1 if plain_input else isa.lanes
        check_blocked(problem, isa, x_block, extra, clear_losers)

    holds()


@every_isa
def test_planar(isa):
    @drawn(20)
    @given(problems(), halos(), st.booleans())
    def holds(problem, extra, clear_losers):
        check_planar(problem, isa, extra, clear_losers)

    holds()


@every_isa
def test_planar_with_groups(isa):
    @drawn(8)
    @given(problems(grouped=True), halos())
    def holds(problem, extra):
        check_planar(problem, isa, extra)

    holds()


@st.composite
def depthwise_problems(draw) -> ConvProblem:
    """A depthwise layer, dense or over the list of its input's gate."""
    kernel, strides, padding, dilation, image = draw(geometries())
    channels, with_bias = draw(st.sampled_from([1, 3, 17, 20, 64])), draw(st.booleans())
    winners = draw(st.none() | lists(channels, 1))
    roles = ("x", "weight", *(["bias"] if with_bias else []), *(["winners"] if winners else []))
    gate, activation = "listed" if winners else "none", draw(st.sampled_from(ACTIVATIONS))
    spec = Conv2dSpec("dw", roles, activation, gate, winners, None, strides, padding, dilation, groups=channels)
    return problem_of(spec, 2, channels, channels, image, kernel)


@every_isa
def test_depthwise(isa):
    @drawn(12)
    @given(depthwise_problems(), halos(), st.booleans())
    def holds(problem, extra, clear_losers):
        check_planar(problem, isa, extra, clear_losers)
        winners = problem.spec.winners
        if winners is None or winners.granularity % isa.lanes == 0:
            check_depthwise(problem, isa, extra, clear_losers)

    holds()


def check_depthwise(problem, isa, extra: tuple[int, int, int], clear_losers: bool) -> None:
    x_halo = problem.halo_needed + extra[0]
    packed = {
        "x": lambda x: store(x, isa.lanes, x_halo, problem.spec.format),
        "weight": lambda weight: pack_depthwise_weight(weight, isa.lanes),
        "bias": lambda bias: whole_blocks(bias, isa.lanes),
    }
    spec = problem.spec
    layouts = Layout(isa.lanes, x_halo, spec.format), Layout(isa.lanes, extra[1], spec.out_format)
    kernel = depthwise_blocked(problem, isa, *layouts, clear_losers)
    check(problem, isa, kernel, packed, extra[1], isa.lanes, clear_losers)


@every_isa
def test_blocked_with_any_tile(isa):
    """Tiles that do not divide rows, columns or blocks, over a list of winners as over all channels."""
    for winners, tile in [(None, (3, 2, 5)), (ActiveList(3, 16), (2, 3, 4)), (ActiveList(1, 16), (1, 1, 1))]:
        roles = ("x", "weight", *GATES["output" if winners else "none"])
        spec = Conv2dSpec("conv", roles, Activation("relu"), "output" if winners else "none", winners, padding=(1,) * 4)
        check_blocked(problem_of(spec, 2, 20, 64, (7, 9), (3, 3)), isa, 1, (0, 1, 0), tile=blocked.Tile(*tile))


@every_isa
def test_work_that_is_shared_among_threads(isa):
    """Large enough for parallel loops, losers included."""
    for gate in ("branch", "output"):
        roles = ("x", "weight", "bias", "residual", *GATES[gate], "active")
        lists_of_both = ActiveList(3, 16), ActiveList(2, 16)
        spec = Conv2dSpec("conv", roles, Activation("relu"), gate, *lists_of_both, padding=(1,) * 4)
        problem = problem_of(spec, 3, 64, 64, (30, 30), (3, 3))
        check_blocked(problem, isa, isa.lanes, (0, 1, 1))
        check_planar(problem, isa, (0, 1, 1))


@needs_pairs
@drawn(24)
@given(
    problems(PAIRS.lanes),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["float32", "bfloat16"]),
    halos(),
    st.booleans(),
)
def test_pairs_of_bfloat16(problem, in_pairs, rounds_output, residual_dtype, extra, clear_losers):
    """With a list of single active channels, which pairs cannot follow, the float32 kernel computes the same."""
    problem = in_bfloat16(problem, rounds_output)
    x_block = 2 if in_pairs and multiplies_pairs(problem.spec, PAIRS) else PAIRS.lanes
    check_blocked(problem, PAIRS, x_block, extra, clear_losers, residual_dtype=residual_dtype)


@every_isa
def test_bfloat16_in_float32_arithmetic(isa):
    @drawn(8)
    @given(problems(isa.lanes), st.booleans(), halos())
    def holds(problem, rounds_output, extra):
        problem = in_bfloat16(problem, rounds_output)
        check_blocked(problem, isa, isa.lanes, extra)
        check_planar(problem, isa, extra)

    holds()


@every_isa
def test_depthwise_in_bfloat16(isa):
    @drawn(6)
    @given(depthwise_problems(), st.booleans(), halos())
    def holds(problem, rounds_output, extra):
        problem = in_bfloat16(problem, rounds_output)
        if problem.spec.winners is None or problem.spec.winners.granularity % isa.lanes == 0:
            check_depthwise(problem, isa, extra, clear_losers=True)

    holds()


@needs_pairs
def test_pairs_that_are_shared_among_threads():
    for gate in ("branch", "output"):
        roles = ("x", "weight", "bias", "residual", *GATES[gate], "active")
        lists_of_both = ActiveList(3, 16), ActiveList(2, 16)
        spec = Conv2dSpec("conv", roles, Activation("relu"), gate, *lists_of_both, padding=(1,) * 4)
        problem = in_bfloat16(problem_of(spec, 3, 64, 64, (30, 30), (3, 3)), rounds_output=True)
        check_blocked(problem, PAIRS, PAIRS.lanes, (0, 1, 1), residual_dtype="bfloat16")
