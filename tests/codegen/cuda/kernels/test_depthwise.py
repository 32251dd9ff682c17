"""The depthwise kernel, emulated, against the formula."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from oracles import emulated, nn
from oracles.convolutions import depthwise_problems, random_arrays
from oracles.running import drawn

from espalier.codegen.cuda.kernels import depthwise
from espalier.codegen.cuda.kernels.epilogue import pack_vector, real_end
from espalier.codegen.cuda.layout import GROUP, Layout


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@given(problem=depthwise_problems())
@drawn(8)
def test_real_numbers(dtype, problem):
    spec = dataclasses.replace(problem.spec, format=dtype)
    assume(not spec.winners or spec.winners.granularity % GROUP == 0)
    arrays = random_arrays(problem)
    arrays = {role: one.astype(dtype).astype(np.float32) if one.ndim == 4 else one for role, one in arrays.items()}
    if spec.winners:
        listed = nn.listed_channels(arrays["winners"], spec.winners.granularity, problem.channels_out)
        arrays["x"] *= listed[..., None, None].astype(np.float32)
    roles = [role for role in ("bias", "residual", "winners") if role in arrays]
    stored = {
        "x": lambda x: Layout(dtype).stored(x),
        "weight": lambda weight: depthwise.pack_depthwise(weight, dtype),
        "bias": pack_vector,
        "residual": lambda residual: Layout(dtype).stored(residual),
        "winners": lambda winners: winners,
    }
    end = real_end(spec, Layout(dtype).channels(problem.channels_out), dtype, dtype)
    shapes = problem.x_shape, problem.weight_shape, problem.out_shape
    numbers = depthwise.depthwise_numbers(spec, *shapes, roles, end, bool(spec.winners))
    inputs = [stored[role](arrays[role]) for role in ("x", "weight", *roles)]
    outputs = [(Layout(dtype).physical(problem.out_shape), dtype)]
    (y,) = emulated.call(depthwise.variant_of(spec), numbers, inputs, outputs)
    actual, expected = Layout(dtype).plain(y, problem.out_shape), nn.layer(problem.spec, arrays)
    tolerance = 2e-3 if dtype == "float16" else 1e-5
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * max(1, np.abs(expected).max()))
