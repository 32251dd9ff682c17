"""Quantized convolutions and depthwise ones, emulated, give the integers, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tvm
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import emulated, integers, nn
from oracles.convolutions import depthwise_problems, problem_of, problems
from oracles.integer_layers import quantized, random_arrays
from oracles.running import drawn

from espalier.codegen.cuda.kernels import conv2d, depthwise
from espalier.codegen.cuda.kernels.channel_sums import sums_shape
from espalier.codegen.cuda.kernels.conv2d import TILES, WAITING_TILES, Problem, Schedule, Tile
from espalier.codegen.cuda.kernels.epilogue import byte_end, pack_end, rescaling_of
from espalier.codegen.cuda.layout import GROUP, Layout
from espalier.core.integer import LayerArithmetic
from espalier.core.layers import ActiveList, Conv2dSpec, DenseSpec


def arguments(spec, arrays, out_shape, y_dtype: str, folds_zero: bool, lists) -> tuple[dict, list]:
    """Tensors behind x and weight by role, and the numbers of the epilogue."""
    rescaling = rescaling_of(spec, arrays)
    tensors = pack_end(spec, arrays, rescaling, folds_zero)
    if "residual" in arrays:
        tensors["residual"] = Layout("uint8").stored(arrays["residual"])
    tensors |= {role: arrays[role] for role in ["pi", *lists] if role in arrays}
    return tensors, byte_end(spec, Layout(y_dtype).channels(out_shape[1]), out_shape[1], rescaling)


def run(spec, arrays, out_shape, schedule: Schedule) -> np.ndarray:
    """What the emulated convolution gives, resting channels included; it must leave its counters at zero."""
    return run_with_sums(spec, arrays, out_shape, schedule, sums=False)[0]


def run_with_sums(spec, arrays, out_shape, schedule: Schedule, sums: bool = True) -> list[np.ndarray]:
    """The same, and what it leaves behind for a gate."""
    problem, y_dtype = Problem.of(spec, arrays["x"].shape, arrays["weight"].shape, out_shape), spec.out_format
    problem = dataclasses.replace(problem, sums=sums)
    lists = [role for role in ("winners", "active") if getattr(problem, role)]
    tensors, end = arguments(spec, arrays, out_shape, y_dtype, True, lists)
    outside = conv2d.outside_of(spec)
    if outside is not None:
        tensors["outside"] = outside
    counters, partial = conv2d.scratch_shapes(problem, schedule)
    arrivals = [tvm.runtime.tensor(np.zeros(counters, np.int32))] if counters else []
    x = Layout("uint8").stored(arrays["x"])
    inputs = [x, conv2d.pack_weight(arrays["weight"], problem.number_format), *tensors.values(), *arrivals]
    outputs = [(Layout(y_dtype).physical(out_shape), y_dtype), *([((partial,), "int32")] if partial else [])]
    left = sums_shape(out_shape, problem.tiles_of_sample(schedule.tile))
    outputs += [(left, "int32")] if sums else []
    numbers = conv2d.call_numbers(problem, schedule, list(tensors), end, problem.winners is not None)
    results = emulated.call(schedule.tile.variant(problem.number_format), numbers, inputs, outputs)
    assert not any(one.numpy().any() for one in arrivals)
    return [Layout(y_dtype).plain(results[0], out_shape), *results[1:][-1:]]


def check(problem, schedule: Schedule, seed: int = 0) -> None:
    arrays = random_arrays(problem.spec, problem.x_shape, problem.weight_shape, problem.out_shape, seed)
    expected = integers.layer(problem.spec, arrays)
    np.testing.assert_array_equal(run(problem.spec, arrays, problem.out_shape, schedule), expected)


@given(problem=quantized(problems(least_granularity=GROUP)), splits=st.integers(1, 5), seed=st.integers(0, 2))
@drawn(20)
def test_small_tile(problem, splits, seed):
    shapes = Problem.of(problem.spec, problem.x_shape, problem.weight_shape, problem.out_shape)
    assume(problem.spec.gate == "none" or problem.channels_out % GROUP == 0)
    check(problem, Schedule(TILES[3], min(splits, shapes.depth)), seed)


GATED = {
    "roles": ("x", "weight", "bias", "multiplier", "pi", "winners", "active"),
    "gate": "output",
    "format": "int8",
    "out_format": "uint8",
}


ARITHMETIC = LayerArithmetic(0, 34, 3)


def gated(granularity: int):
    """A 3x3 layer over lists of this granularity on both sides."""
    winners, active = (ActiveList(channels // granularity, granularity) for channels in (72, 40))
    spec = Conv2dSpec("conv", **GATED, winners=winners, active=active, padding=(1, 1, 1, 1), integer=ARITHMETIC)
    return problem_of(spec, 2, 80, 144, (9, 13), (3, 3))


@pytest.mark.parametrize("granularity", [8, 16])
def test_copies_through_registers(granularity, monkeypatch):
    """As GPUs below 8.0 copy: what is fetched is put down behind the products."""
    plain = Tile.variant

    def waiting(tile, number_format):
        one = plain(tile, number_format)
        return dataclasses.replace(one, macros=(*one.macros, ("ESPALIER_COPIES_WAIT", "1")))

    monkeypatch.setattr(Tile, "variant", waiting)
    check(gated(granularity), Schedule(WAITING_TILES[1], 2))


@pytest.mark.parametrize(("tile", "granularity"), [(TILES[0], 16), (TILES[1], 16), (TILES[2], 8)], ids=str)
def test_lists_of_8_and_16_channels_are_followed(tile, granularity):
    problem = gated(granularity)
    shapes = Problem.of(problem.spec, problem.x_shape, problem.weight_shape, problem.out_shape)
    assert shapes.numbers.piece == granularity
    assert (shapes.active, shapes.winners) == (problem.spec.active, problem.spec.winners)
    check(problem, Schedule(tile, 2))


def test_a_tile_leaves_the_sums_of_its_channels_behind():
    for problem, zero in ((gated(16), ARITHMETIC.zero), (ungated(), 128)):
        arrays = random_arrays(problem.spec, problem.x_shape, problem.weight_shape, problem.out_shape)
        y, sums = run_with_sums(problem.spec, arrays, problem.out_shape, Schedule(TILES[3], 2))
        listed = np.ones((2, problem.channels_out), bool)
        if "winners" in arrays:
            listed = nn.listed_channels(arrays["winners"], 16, problem.channels_out) > 0
        distances = np.abs(y.astype(np.int64) - zero).reshape(*y.shape[:2], -1)
        expected = np.stack([distances[..., :64].sum(2), distances[..., 64:].sum(2)], 1).transpose(0, 2, 1)
        np.testing.assert_array_equal(sums.transpose(0, 2, 1)[listed], expected[listed])


def ungated():
    """A 3x3 layer with zero points on both sides."""
    spec = Conv2dSpec("conv", ("x", "weight", "multiplier"), format="int8", out_format="uint8", padding=(1, 1, 1, 1))
    spec = dataclasses.replace(spec, integer=LayerArithmetic(200, 34, 128))
    return problem_of(spec, 2, 24, 40, (9, 13), (3, 3))


def test_an_image_is_surrounded_by_the_zero_point():
    spec = Conv2dSpec("conv", ("x", "weight", "multiplier"), format="int8", out_format="uint8", padding=(2, 2, 2, 2))
    spec = dataclasses.replace(spec, integer=LayerArithmetic(200, 34, 128))
    check(problem_of(spec, 1, 20, 24, (3, 3), (5, 5)), Schedule(TILES[3]))


def test_a_dense_layer():
    roles = ("x", "weight", "bias", "scale")
    spec = DenseSpec("fc", roles, format="int8", out_format="float32", integer=LayerArithmetic(7))
    arrays = random_arrays(spec, (3, 70), (10, 70), (3, 10))
    np.testing.assert_array_equal(run(spec, arrays, (3, 10), Schedule(TILES[3], 3)), integers.layer(spec, arrays))


def test_an_index_out_of_range_is_never_followed():
    problem = gated(8)
    arrays = random_arrays(problem.spec, problem.x_shape, problem.weight_shape, problem.out_shape)
    arrays["winners"][:, [0, -1]] = arrays["active"][:, [0, -1]] = [-7, 2**30]
    inside = {**arrays, "winners": arrays["winners"].clip(0, 17), "active": arrays["active"].clip(0, 9)}
    results = [run(problem.spec, one, problem.out_shape, Schedule(TILES[3])) for one in (arrays, inside)]
    np.testing.assert_array_equal(*results)


def run_depthwise(spec, arrays, out_shape) -> np.ndarray:
    """What the emulated kernel gives, resting channels included."""
    tensors, end = arguments(spec, arrays, out_shape, spec.out_format, False, ["winners"])
    shapes = arrays["x"].shape, arrays["weight"].shape, out_shape
    numbers = depthwise.depthwise_numbers(spec, *shapes, list(tensors), end, bool(spec.winners))
    x, weight = Layout("uint8").stored(arrays["x"]), depthwise.pack_depthwise(arrays["weight"], "int8")
    layout = Layout(spec.out_format)
    outputs = [(layout.physical(out_shape), spec.out_format)]
    (y,) = emulated.call(depthwise.variant_of(spec), numbers, [x, weight, *tensors.values()], outputs)
    return layout.plain(y, out_shape)


@given(problem=quantized(depthwise_problems()), seed=st.integers(0, 2))
@drawn(12)
def test_depthwise(problem, seed):
    spec = problem.spec
    assume(not spec.winners or spec.winners.granularity % GROUP == 0)
    arrays = random_arrays(spec, problem.x_shape, problem.weight_shape, problem.out_shape, seed)
    expected = integers.layer(spec, arrays)
    if spec.winners:  # what rests is not read
        listed = nn.listed_channels(arrays["winners"], spec.winners.granularity, problem.channels_out)[..., None, None]
        arrays["x"] = np.where(listed > 0, arrays["x"], 99).astype(np.uint8)
    np.testing.assert_array_equal(run_depthwise(spec, arrays, problem.out_shape), expected)


def test_a_depthwise_index_out_of_range_is_never_followed():
    roles, integers_only = ("x", "weight", "multiplier", "winners"), {"format": "int8", "out_format": "uint8"}
    gate = {"gate": "listed", "winners": ActiveList(2, 8)}
    spec = Conv2dSpec("dw", roles, **gate, **integers_only, groups=32, integer=ARITHMETIC, padding=(1,) * 4)
    problem = problem_of(spec, 1, 32, 32, (4, 5), (3, 3))
    arrays = random_arrays(spec, problem.x_shape, problem.weight_shape, problem.out_shape)
    lists = (np.array([one], np.int32) for one in ([-(2**31), 2**30], [0, 3]))
    results = [run_depthwise(spec, {**arrays, "winners": one}, problem.out_shape) for one in lists]
    np.testing.assert_array_equal(*results)
