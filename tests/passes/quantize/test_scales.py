"""Residuals share a scale where that costs little."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.networks import residual

from espalier.build import prepare
from espalier.core.calibration import Range
from espalier.core.plan import Plan
from espalier.passes.quantize.integer_tensors import IntegerTensors
from espalier.passes.quantize.residuals import residual_arithmetic
from espalier.passes.quantize.scales import ANY_SCALE, Numbers, numbers_of
from espalier.passes.quantize.tensor_names import tensor_names


def numbers(**ranges) -> dict[str, Numbers]:
    """By name; a range of 0 to 1 where none is given."""
    found = IntegerTensors.of(prepare(residual(channels=8, size=4)), Plan(weights="uniform<8>"))
    names = tensor_names(found.flow)
    known = {name: Range(*ranges.get(name.replace("/", "_").replace(".", "_"), (0, 1))) for name in names.values()}
    return {names[var]: one for var, one in numbers_of(found, names, known).items()}


def test_what_is_added_has_one_scale():
    found = numbers(stem=(0, 2), block1_conv2=(0, 3), block1_conv1=(-1, 1))
    assert found["stem"] == found["stem/max_pool2d"]
    assert found["stem"].scale == found["block1.conv2"].scale == pytest.approx(3 / 255)
    assert found["block1.conv1"].scale == pytest.approx(2 / 255)
    assert found["block1.conv1"].zero in (127, 128)
    assert found["stem"].zero == 0


def test_unless_one_is_far_below_the_other():
    found = numbers(stem=(0, 0.1), stem_max_pool2d=(0, 0.1), block1_conv2=(0, 3))
    assert found["stem"].scale == pytest.approx(0.1 / 255)
    assert found["block1.conv2"].scale == pytest.approx(3 / 255)


def test_a_range_of_no_width():
    assert numbers(block1_conv1=(0, 0))["block1.conv1"] == Numbers(float(ANY_SCALE), 0, 255)
    assert numbers(x=(5, 5))["x"].scale == pytest.approx(5 / 255)


@pytest.mark.parametrize("scales", [(0.02, 0.02), (0.013, 0.02), (0.7, 0.02)])
def test_residual_arithmetic(scales):
    """Within a step of the real sum, and limiting the sums first changes nothing."""
    other, y = Numbers(scales[0], 40, 255), Numbers(scales[1], 10, 255)
    one = residual_arithmetic(other, y)
    sums, residuals = np.meshgrid(np.arange(-9000, 9000, 7), np.arange(256))
    limited = sums if one.low is None else np.clip(sums, one.low, one.high)
    fixed = np.rint((limited * one.own + (residuals - one.zero) * one.other) / 2**one.shift)
    real = sums + (residuals - 40) * other.scale / y.scale
    difference = np.abs(np.clip(fixed + 10, 0, 255) - np.clip(np.rint(real) + 10, 0, 255))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001
