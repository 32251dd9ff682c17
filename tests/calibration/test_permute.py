"""Reordered channels leave the network's outputs as they were."""

from __future__ import annotations

import numpy as np
import pytest

from espalier.build import prepare
from espalier.calibration.evaluate import evaluate
from espalier.calibration.interpreter import Interpreter
from espalier.calibration.permute import can_reorder, reordered_weights
from espalier.calibration.readers import reader_norm
from espalier.core.calibration import Calibration
from espalier.frontend.onnx import from_onnx
from espalier.passes.prune.replace_weights import layer_weights, model_digest
from tests.models import ModelBuilder, depthwise_net, plain_net, residual_net

random = np.random.default_rng(0)


def flat_net():
    """Activations and pooling between convolutions; the last map is flattened pixel by pixel."""
    b = ModelBuilder()
    y = b.node("MaxPool", b.node("Sigmoid", b.conv("x", "a", 3, 8)), kernel_shape=[2, 2], strides=[2, 2])
    y = b.node("Flatten", b.node("LeakyRelu", b.conv(y, "b", 8, 8)))
    return b.model([1, 3, 8, 8], b.node("Gemm", y, b.weight("fc.weight", 10, 8 * 16), transB=1))


def joined_net():
    """One layer is added, one concatenated, one grouped, one given out."""
    b = ModelBuilder()
    added, joined = b.relu(b.conv("x", "added", 3, 8)), b.relu(b.conv("x", "joined", 3, 8))
    y = b.node("Concat", b.node("Mul", added, joined), joined, axis=1)
    y = b.relu(b.conv(y, "grouped", 16, 8, group=2))
    given = b.relu(b.conv(y, "given", 8, 8))
    return b.model([1, 3, 8, 8], b.head(given, "fc", 8, 10), given)


@pytest.mark.parametrize(
    ("net", "reorderable"),
    [
        (plain_net, {"conv0", "conv1"}),
        (residual_net, {"stem", "block.conv1"}),
        (depthwise_net, {"stem", "pointwise"}),
        (flat_net, {"a", "b"}),
        (joined_net, set()),
    ],
)
def test_outputs_stay(net, reorderable):
    mod = from_onnx(net())
    prepared = prepare(mod)
    interpreter = Interpreter(prepared)
    layers = {layer.name: layer for layer in interpreter.layers}
    assert {name for name, layer in layers.items() if can_reorder(interpreter.flow, layer.var)} == reorderable
    orders = {name: random.permutation(len(layers[name].weight)) for name in reorderable}
    weights = reordered_weights(prepared, orders)
    x = random.normal(size=(4, 3, 8, 8)).astype(np.float32)
    reordered = evaluate(mod, x, calibration=Calibration({}, weights, model_digest(prepared)))
    np.testing.assert_allclose(reordered, evaluate(mod, x), rtol=1e-4, atol=1e-5)


def test_rows_and_columns_move_together():
    prepared = prepare(from_onnx(plain_net(channels=4)))
    before, order = layer_weights(prepared), np.array([2, 0, 3, 1])
    after = reordered_weights(prepared, {"conv0": order})
    np.testing.assert_array_equal(after["conv0"].weight, before["conv0"].weight[order])
    np.testing.assert_array_equal(after["conv0"].bias, before["conv0"].bias[order])
    np.testing.assert_array_equal(after["conv1"].weight, before["conv1"].weight[:, order])
    assert after.keys() == {"conv0", "conv1"}


def test_the_norm_counts_every_reader():
    interpreter = Interpreter(prepare(from_onnx(residual_net(channels=4))))
    layers = {layer.name: layer for layer in interpreter.layers}
    squares = {name: np.square(layer.weight, dtype=np.float64).sum(0) for name, layer in layers.items()}
    stem = squares["block.conv1"].sum((1, 2)) + squares["block.shortcut"].sum((1, 2))
    np.testing.assert_allclose(reader_norm(interpreter.flow, layers["stem"].var), np.sqrt(stem))
    residual = next(layer.residual for layer in layers.values() if layer.residual is not None)
    np.testing.assert_array_equal(reader_norm(interpreter.flow, residual), np.ones(4))


def test_the_norm_goes_through_depthwise_layers():
    interpreter = Interpreter(prepare(from_onnx(depthwise_net(channels=4))))
    layers = {layer.name: layer for layer in interpreter.layers}
    depthwise = np.square(layers["depthwise"].weight, dtype=np.float64).sum((1, 2, 3))
    pointwise = np.square(layers["pointwise"].weight, dtype=np.float64).sum((0, 2, 3))
    np.testing.assert_allclose(reader_norm(interpreter.flow, layers["stem"].var), np.sqrt(depthwise * pointwise))
