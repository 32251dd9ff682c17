"""The interpreter computes what the compiled module computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from espalier.build import build, prepare
from espalier.calibration.convolution import linear, sampled_outputs, sampled_rows
from espalier.calibration.evaluate import evaluate
from espalier.calibration.interpreter import Interpreter
from espalier.core.layers import Conv2dSpec, DenseSpec
from espalier.frontend.onnx import from_onnx
from tests.models import ModelBuilder, depthwise_net, plain_net, residual_net


def branches_net(batch: int):
    """Two branches joined by a concatenation and an add, split again, then pooled and classified."""
    b = ModelBuilder()
    left = b.node("Sigmoid", b.conv("x", "left", 3, 8))
    right = b.node("MaxPool", b.conv("x", "right", 3, 8), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    joined = b.node("Concat", left, b.node("Add", left, right), axis=1)
    b.weights["sizes"] = np.array([12, 4])
    b.nodes.append(_split(joined, "sizes"))
    y = b.node("AveragePool", b.relu(b.conv("p0", "last", 12, 8)), kernel_shape=[2, 2], strides=[2, 2])
    y = b.node("Concat", y, b.node("MaxPool", "p1", kernel_shape=[2, 2], strides=[2, 2]), axis=1)
    return b.model([batch, 3, 8, 8], b.head(y, "fc", 12, 10))


def two_outputs_net(batch: int):
    """A classifier that gives a feature map too."""
    b = ModelBuilder()
    y = b.relu(b.conv("x", "conv", 3, 8))
    return b.model([batch, 3, 8, 8], b.head(y, "fc", 8, 10), y)


def _split(value: str, sizes: str):
    from onnx import helper

    return helper.make_node("Split", [value, sizes], ["p0", "p1"], axis=1)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("net", [branches_net, two_outputs_net, lambda batch: plain_net(batch=batch)])
def test_stock_operators_and_batches(net, batch):
    mod = from_onnx(net(batch))
    x = np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype(np.float32)
    assert_same_as_compiled(mod, x, batch)


@pytest.mark.parametrize("net", [residual_net, depthwise_net])
def test_residuals_and_clips(net):
    x = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    assert_same_as_compiled(from_onnx(net()), x, 1)


@settings(max_examples=15, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2, 6]),
    batch=st.sampled_from([1, 2]),
)
def test_convolutions(kernel, strides, pads, dilations, groups, batch):
    assume(all(dilations[i] * (kernel[i] - 1) < 7 + pads[i] + pads[i + 2] for i in range(2)))
    b = ModelBuilder()
    given_weights = ["x", b.weight("conv.weight", 12, 6 // groups, *kernel), b.weight("conv.bias", 12)]
    attributes = {"strides": list(strides), "pads": list(pads), "dilations": list(dilations), "group": groups}
    mod = from_onnx(b.model([batch, 6, 7, 7], b.relu(b.node("Conv", *given_weights, **attributes))))
    x = np.random.default_rng(0).normal(size=(4, 6, 7, 7)).astype(np.float32)
    assert_same_as_compiled(mod, x, batch)


@pytest.mark.parametrize(
    "spec",
    [
        Conv2dSpec("a", padding=(1, 1, 1, 1)),
        Conv2dSpec("b", strides=(2, 1), padding=(0, 2, 1, 0), dilation=(1, 2)),
        Conv2dSpec("c", padding=(1, 1, 1, 1), groups=2),
        Conv2dSpec("d", strides=(2, 2), padding=(1, 1, 1, 1), groups=6),
        DenseSpec("e"),
    ],
)
def test_sampled_rows_times_weight_are_sampled_outputs(spec):
    random = np.random.default_rng(1)
    groups = getattr(spec, "groups", 1)
    shapes = ((5, 6), (12, 6)) if isinstance(spec, DenseSpec) else ((5, 6, 7, 9), (12, 6 // groups, 3, 3))
    x, weight = (random.normal(size=shape).astype(np.float32) for shape in shapes)
    y = linear(spec, x, weight, np.zeros(12, np.float32))
    positions = random.permutation(int(np.prod(y.shape[2:])))[:7]
    rows = sampled_rows(spec, x, weight, positions)
    product = rows @ weight.reshape(groups, 12 // groups, -1).transpose(0, 2, 1)
    np.testing.assert_allclose(product, sampled_outputs(y, groups, positions), rtol=1e-4, atol=1e-5)


def test_dead_values_are_dropped():
    interpreter = Interpreter(prepare(from_onnx(residual_net())))
    sizes = []

    def on_layer(layer, lanes):
        sizes.append(len(lanes[0]))
        x, residual = layer.read(lanes[0])
        y = linear(layer.spec, x, layer.weight, layer.bias)
        return (y if residual is None else y + residual,)

    lane = interpreter.lane({"x": np.zeros((2, 1, 3, 8, 8), np.float32)})
    interpreter.walk([lane], on_layer)
    assert max(sizes) <= 2  # the block's input and its branch
    assert len(lane) == 1


def assert_same_as_compiled(mod, x: np.ndarray, batch: int) -> None:
    artifact = build(mod)
    outputs = (artifact(x[i : i + batch]) for i in range(0, len(x), batch))
    expected = np.concatenate([one[0] if isinstance(one, list) else one for one in outputs])
    np.testing.assert_allclose(evaluate(mod, x), expected, rtol=1e-4, atol=1e-5)
