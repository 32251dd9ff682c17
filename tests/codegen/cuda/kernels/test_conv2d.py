"""The convolution kernel, emulated, against the formula: every number format, tile, list, gate and split."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tvm
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import emulated, nn
from oracles.convolutions import problem_of, problems, random_arrays
from oracles.running import drawn

from espalier.codegen.cuda.kernels.channel_sums import sums_shape
from espalier.codegen.cuda.kernels.conv2d import (
    TILES,
    Problem,
    Schedule,
    call_numbers,
    counts_chunks,
    pack_weight,
    scratch_shapes,
)
from espalier.codegen.cuda.kernels.epilogue import pack_vector, real_end
from espalier.codegen.cuda.layout import GROUP, Layout
from espalier.core.layers import Activation, ActiveList, Conv2dSpec, DenseSpec

TOLERANCE = {"float16": 2e-3, "tfloat32": 2e-3, "float32": 2e-6}
"""Of the root mean square error, relative to the output's."""
UNWRITTEN = 113
"""What the outputs of an emulated call hold before it."""


def run(spec, arrays, out_shape, schedule: Schedule, y_dtype: str = "float32", fill: bool = False) -> np.ndarray:
    """What the emulated kernel computes, as a plain tensor; it must leave its counters at zero."""
    return run_with_sums(spec, arrays, out_shape, schedule, y_dtype, fill, sums=False)[0]


def run_with_sums(spec, arrays, out_shape, schedule, y_dtype, fill: bool, sums: bool = True) -> list[np.ndarray]:
    """The same, and what it leaves behind for a gate."""
    problem = Problem.of(spec, arrays["x"].shape, arrays["weight"].shape, out_shape)
    problem = dataclasses.replace(problem, sums=sums)
    element = problem.numbers.element
    stored = {
        "x": lambda x: Layout(element).stored(x),
        "weight": lambda weight: pack_weight(weight, spec.format),
        "bias": pack_vector,
        "residual": lambda residual: Layout(y_dtype).stored(residual),
    }
    given_roles = [role for role in ("bias", "residual", "pi") if role in arrays]
    given_roles += [role for role in ("winners", "active") if getattr(problem, role)]
    counters, partial = scratch_shapes(problem, schedule)
    arrivals = [tvm.runtime.tensor(np.zeros(counters, np.int32))] if counters else []
    inputs = [stored.get(role, lambda array: array)(arrays[role]) for role in ("x", "weight", *given_roles)]
    outputs = [(Layout(y_dtype).physical(out_shape), y_dtype), *([((partial,), "float32")] if partial else [])]
    left = sums_shape(out_shape, problem.tiles_of_sample(schedule.tile))
    outputs += [(left, "float32")] if sums else []
    end = real_end(spec, Layout(y_dtype).channels(out_shape[1]), y_dtype, y_dtype)
    numbers = call_numbers(problem, schedule, given_roles, end, fill)
    variant = schedule.tile.variant(spec.format)
    results = emulated.call(variant, numbers, [*inputs, *arrivals], outputs)
    assert not any(one.numpy().any() for one in arrivals)
    return [Layout(y_dtype).plain(results[0], out_shape), *results[1:][-1:]]


def assert_near(number_format: str, actual, expected) -> None:
    error = np.sqrt(np.mean((actual - expected) ** 2)) / max(np.sqrt(np.mean(expected**2)), 1e-3)
    assert error < TOLERANCE[number_format], error


def check(problem, number_format: str, schedule: Schedule, y_dtype: str = "float32") -> None:
    spec = dataclasses.replace(problem.spec, format=number_format)
    arrays = random_arrays(problem)
    # the tensor cores' operands are exact in the format, so that only the sums differ from the formula
    if number_format == "float16":
        arrays |= {role: arrays[role].astype(np.float16).astype(np.float32) for role in ("x", "weight")}
    if number_format == "tfloat32":
        arrays["weight"] = (arrays["weight"].view(np.uint32) & 0xFFFFE000).view(np.float32)
    if "residual" in arrays:
        arrays["residual"] = arrays["residual"].astype(y_dtype).astype(np.float32)
    actual = run(spec, arrays, problem.out_shape, schedule, y_dtype, fill=bool(spec.winners))
    assert_near("float16" if y_dtype == "float16" else number_format, actual, nn.layer(problem.spec, arrays))


def layer(batch: int, c_in: int, c_out: int, image, kernel, **fields):
    padding = (kernel[0] // 2, kernel[1] // 2) * 2
    return problem_of(Conv2dSpec("conv", padding=padding, **fields), batch, c_in, c_out, image, kernel)


@pytest.mark.parametrize("number_format", TOLERANCE)
@given(
    problem=problems(least_granularity=GROUP), y_dtype=st.sampled_from(["float32", "float16"]), splits=st.integers(1, 5)
)
@drawn(6)
def test_small_tile(number_format, problem, y_dtype, splits):
    shapes = Problem.of(
        dataclasses.replace(problem.spec, format=number_format),
        problem.x_shape,
        problem.weight_shape,
        problem.out_shape,
    )
    assume(not problem.spec.winners or problem.channels_out % GROUP == 0)
    check(problem, number_format, Schedule(TILES[3], min(splits, shapes.depth)), y_dtype)


GATED = {
    "roles": ("x", "weight", "bias", "residual", "pi", "winners", "active"),
    "activation": Activation("relu"),
    "gate": "branch",
    "winners": ActiveList(5, 16),
    "active": ActiveList(3, 16),
}


@pytest.mark.parametrize("tile", [*TILES[:3], *TILES[4:]], ids=str)
def test_every_tile(tile):
    check(layer(2, 64, 160, (9, 13), (3, 3), **GATED), "float16", Schedule(tile, 2), "float16")


def sums_of(distances: np.ndarray, rows: int) -> np.ndarray:
    """[N, slots, C] of [N, C, H, W]: over so many pixels of a sample at a time."""
    flat = distances.reshape(*distances.shape[:2], -1)
    return np.stack([flat[..., start : start + rows].sum(2) for start in range(0, flat.shape[2], rows)], 1)


@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize(("y_dtype", "tile"), [("float32", TILES[1]), ("float16", TILES[3])], ids=str)
def test_a_tile_leaves_the_sums_of_its_channels_behind(y_dtype, tile, splits):
    """Of what is stored, in the listed channels and nowhere else; without lists no tile spans two samples either."""
    for fields in (GATED, {"roles": ("x", "weight")}):
        problem = layer(2, 64, 160, (9, 15), (3, 3), **fields)
        arrays = random_arrays(problem)
        given = (dataclasses.replace(problem.spec, format="float16"), arrays, problem.out_shape, Schedule(tile, splits))
        y, sums = run_with_sums(*given, y_dtype, fill=False)
        listed = np.ones((2, 160), bool)
        if "winners" in arrays:
            listed = nn.listed_channels(arrays["winners"], 16, 160) > 0
        assert (sums.transpose(0, 2, 1)[~listed] == UNWRITTEN).all()
        expected = sums_of(np.abs(y.astype(np.float64)), tile.rows).transpose(0, 2, 1)[listed]
        np.testing.assert_allclose(sums.transpose(0, 2, 1)[listed], expected, rtol=1e-5)
        np.testing.assert_array_equal(y, run(*given, y_dtype))


def test_a_dense_layer_is_a_convolution_of_one_pixel():
    random = np.random.default_rng(1)
    arrays = {"x": random.standard_normal((3, 70), np.float32), "weight": random.standard_normal((10, 70), np.float32)}
    arrays["bias"] = random.standard_normal(10, np.float32)
    spec = DenseSpec("fc", ("x", "weight", "bias"), format="float32")
    actual = run(spec, arrays, (3, 10), Schedule(TILES[3], 3))
    assert_near("float32", actual, nn.layer(spec, arrays))


def test_float32_sums_are_as_exact_at_a_great_depth():
    """Tensor cores round toward zero: 2,304 products in their accumulators would be off by 1e-5."""
    problem = layer(1, 256, 32, (8, 8), (3, 3), roles=("x", "weight"))
    arrays = {role: np.abs(array) for role, array in random_arrays(problem).items()}
    spec = dataclasses.replace(problem.spec, format="float32")
    expected, actual = nn.layer(problem.spec, arrays), run(spec, arrays, problem.out_shape, Schedule(TILES[3]))
    assert np.abs(actual / expected - 1).max() < 1e-6


def test_an_index_out_of_range_is_never_followed():
    """Lists with numbers far outside read and write what lies inside, and nothing else."""
    problem = layer(1, 64, 64, (4, 4), (1, 1), roles=("x", "weight", "pi", "winners", "active"), gate="output",
                    winners=ActiveList(2, 16), active=ActiveList(2, 16))  # fmt: skip
    arrays = random_arrays(problem)
    arrays["winners"][:], arrays["active"][:] = [[-7, 2**30]], [[-(2**31), 99]]
    y = run(
        dataclasses.replace(problem.spec, format="float16"), arrays, problem.out_shape, Schedule(TILES[3]), fill=True
    )
    inside = arrays | {"winners": np.array([[0, 3]], np.int32), "active": np.array([[0, 3]], np.int32)}
    again = run(
        dataclasses.replace(problem.spec, format="float16"), inside, problem.out_shape, Schedule(TILES[3]), fill=True
    )
    np.testing.assert_array_equal(y, again)


def test_inputs_whose_chunks_32_bits_do_not_count_are_left_alone():
    spec = Conv2dSpec("conv", ("x", "weight"), format="float16")
    assert counts_chunks(spec, (1 << 20, 5, 16, 32))  # 5 channels are stored as a chunk of 8
    assert not counts_chunks(spec, ((1 << 20) + 1, 5, 16, 32))
    assert not counts_chunks(spec, (1 << 20, 9, 16, 32))


def test_a_wrong_call_says_so():
    variant = TILES[3].variant("float16")
    with pytest.raises(TypeError, match="expected an integer"):
        emulated.function_of(variant)(0.5)
    with pytest.raises(TypeError, match="too few arguments"):
        emulated.function_of(variant)(0)
