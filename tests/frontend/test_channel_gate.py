"""Gates that come with a model: where they are accepted, and every one that is not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from espalier.build import prepare
from espalier.core.errors import InvalidModelError, UnsupportedOpError
from espalier.frontend import from_onnx
from espalier.passes.analysis.layer_table import layer_table

from ..models import ModelBuilder

BATCH, CHANNELS = 2, 16


class GatedModelBuilder(ModelBuilder):
    """Also adds channel gates."""

    def gate(self, x: str, channels_in: int = 3, channels: int = CHANNELS, granularity: int = 4, kept: int = 2, **more):
        """(pi, mask) as [N, C, 1, 1] tensors."""
        phi, rho = self.weight(f"phi{len(self.nodes)}", channels_in, channels), self.weight(f"rho{len(self.nodes)}", 16)
        outputs = [f"pi{len(self.nodes)}", f"mask{len(self.nodes)}"]
        inputs, attributes = more.pop("inputs", [x, phi, rho]), {"granularity": granularity, "kept": kept, **more}
        attributes = {name: value for name, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node("ChannelGate", inputs, outputs, "gate", domain="espalier", **attributes))
        self.weights["pixels"] = np.array([2, 3])
        return [self.node("Unsqueeze", output, "pixels") for output in outputs]

    def gated_model(self, y: str) -> onnx.ModelProto:
        """The model that ends in a classifier of `y`."""
        model = self.model([BATCH, 3, 8, 8], self.head(y, "fc", CHANNELS, 10))
        model.opset_import.append(helper.make_opsetid("espalier", 1))
        return model


def gates(model: onnx.ModelProto) -> dict[str, str]:
    return {layer.name: layer.gate for layer in layer_table(prepare(from_onnx(model)))}


def test_a_gate_behind_or_before_the_activation():
    for order in ((0, 1), (1, 0)):
        b = GatedModelBuilder()
        y, (pi, _) = b.conv("x", "conv", 3, CHANNELS), b.gate("x")
        for step in order:
            y = b.relu(y) if step else b.node("Mul", pi, y)
        assert gates(b.gated_model(y)) == {"conv": ("branch", "output")[order[0]], "fc": "none"}


def test_layers_that_share_a_gate():
    b = GatedModelBuilder()
    (pi, mask), y = b.gate("x"), b.relu(b.conv("x", "leader", 3, CHANNELS))
    y = b.node("Mul", y, pi)
    follower = b.node("Mul", b.conv("x", "follower", 3, CHANNELS), mask)
    assert gates(b.gated_model(b.node("Add", y, follower))) == {"leader": "output", "follower": "listed", "fc": "none"}


def on_a_sigmoid(b):
    return b.node("Mul", b.node("Sigmoid", b.conv("x", "conv", 3, CHANNELS)), b.gate("x")[0])


def on_a_grouped_convolution(b):
    stem = b.conv("x", "stem", 3, CHANNELS)
    return b.node("Mul", b.conv(stem, "conv", CHANNELS, CHANNELS, group=4), b.gate("x")[0])


def on_a_depthwise_convolution(b):
    stem = b.conv("x", "stem", 3, CHANNELS)
    return b.node("Mul", b.conv(stem, "conv", CHANNELS, CHANNELS, group=CHANNELS), b.gate("x")[0])


def on_two_readers(b):
    y = b.conv("x", "conv", 3, CHANNELS)
    return b.node("Add", y, b.node("Mul", y, b.gate("x")[0]))


def added_instead(b):
    return b.node("Add", b.conv("x", "conv", 3, CHANNELS), b.gate("x")[0])


def a_mask_before_the_sum(b):
    pi, mask = b.gate("x")
    y = b.node("Mul", b.conv("x", "conv", 3, CHANNELS), pi)
    return b.node("Add", y, b.node("Sigmoid", mask))


@pytest.mark.parametrize(
    "build",
    [
        on_a_sigmoid,
        on_a_grouped_convolution,
        on_a_depthwise_convolution,
        on_two_readers,
        added_instead,
        a_mask_before_the_sum,
    ],
)
def test_a_gate_where_the_compiler_has_none(build):
    b = GatedModelBuilder()
    mod = from_onnx(b.gated_model(build(b)))
    with pytest.raises(InvalidModelError, match="gate '.*': something else than a convolution's output depends on it"):
        prepare(mod)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"granularity": 3}, "gate 'gate': granularity 3 of 16 channels, accepted are 1, 4, 8, 16"),
        ({"granularity": None}, "granularity 0 of 16 channels"),
        ({"kept": 5}, r"keeps 5 groups, accepted are 1 \.\. 4"),
        ({"kept": None}, "keeps 0 groups"),
        ({"channels_in": 4}, r"x is \[2, 3, 8, 8\], phi \[4, 16\] and rho \[16\], accepted are"),
        ({"channels": 8}, r"phi \[3, 8\] and rho \[16\]"),
        ({"inputs": ["x"]}, "gate 'gate': 1 inputs, accepted are x, phi and rho"),
        ({"kept": "two"}, "gate 'gate': granularity 4 and kept .*two.*, accepted are integers"),
    ],
)
def test_a_gate_that_does_not_fit_itself(settings, message):
    b = GatedModelBuilder()
    y = b.node("Mul", b.conv("x", "conv", 3, CHANNELS), b.gate("x", **settings)[0])
    with pytest.raises(InvalidModelError, match=message):
        from_onnx(b.gated_model(y))


def test_another_operator_of_the_domain():
    b = GatedModelBuilder()
    model = b.gated_model(b.node("Mul", b.conv("x", "conv", 3, CHANNELS), b.gate("x")[0]))
    next(node for node in model.graph.node if node.domain).op_type = "PixelGate"
    with pytest.raises(UnsupportedOpError, match=r"espalier\.PixelGate \(node 'gate'\)"):
        from_onnx(model)
