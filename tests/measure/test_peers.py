"""Other libraries load the same file and compute the same."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from models import ModelBuilder, depthwise_net, onnxruntime_outputs, plain_net, residual_net
from onnx import numpy_helper

from espalier.core.errors import InvalidInputError, InvalidModelError, ToolNotFoundError, UnsupportedOpError
from espalier.measure.peers import PEERS, open_peer

SHAPE = (1, 3, 8, 8)
X = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


def pools_and_shapes() -> onnx.ModelProto:
    """Uneven padding, both poolings, a constant shape, a concatenation, weights stored as float16."""
    b = ModelBuilder()
    b.weights["half"] = b.random.uniform(-0.3, 0.3, (8, 3, 2, 2)).astype(np.float16)
    y = b.node("Conv", "x", b.node("Cast", "half", to=1), pads=[0, 0, 1, 1])
    y = b.node("Concat", b.node("Sigmoid", y), b.node("LeakyRelu", y, alpha=0.2), axis=1)
    y = b.node("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
    y = b.node("AveragePool", y, kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
    shape = b.node("Constant", value=numpy_helper.from_array(np.int64([0, -1])))
    return b.model(list(SHAPE), b.node("Softmax", b.node("Reshape", y, shape)))


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("build", [plain_net, residual_net, depthwise_net, pools_and_shapes])
def test_peers_agree(peer, build, tmp_path):
    pytest.importorskip(peer)
    model = build()
    onnx.save(model, tmp_path / "model.onnx")
    opened = open_peer(peer, tmp_path / "model.onnx", {"x": SHAPE})
    assert opened.version[0].isdigit()
    np.testing.assert_allclose(opened.run({"x": X})[0], onnxruntime_outputs(model, x=X)[0], atol=1e-5)


def test_a_peer_in_bfloat16_rounds(tmp_path):
    pytest.importorskip("openvino")
    model = residual_net(32)
    onnx.save(model, tmp_path / "model.onnx")
    opened = open_peer("openvino", tmp_path / "model.onnx", {"x": SHAPE}, precision="bfloat16")
    expected = onnxruntime_outputs(model, x=X)[0]
    np.testing.assert_allclose(opened.run({"x": X})[0], expected, rtol=0.05, atol=0.05 * np.abs(expected).max())


@pytest.mark.parametrize("peer", PEERS)
def test_a_dynamic_model_runs_at_the_given_shape(peer, tmp_path):
    pytest.importorskip(peer)
    b = ModelBuilder()
    onnx.save(b.model(["N", 3, 8, 8], b.relu(b.conv("x", "conv0", 3, 4))), tmp_path / "model.onnx")
    opened = open_peer(peer, tmp_path / "model.onnx", {"x": SHAPE})
    assert opened.run({"x": X})[0].shape == (1, 4, 8, 8)


def test_what_is_refused(tmp_path, monkeypatch):
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises(InvalidInputError, match="peer 'tflite': unknown, accepted are onnxruntime, openvino, torch"):
        open_peer("tflite", tmp_path / "no.onnx", {})
    with pytest.raises(InvalidInputError, match="peer torch: precision 'bfloat16', accepted are float32"):
        open_peer("torch", tmp_path / "no.onnx", {}, precision="bfloat16")
    with pytest.raises(InvalidInputError, match="missing.onnx: no such file"):
        open_peer("onnxruntime", tmp_path / "missing.onnx", {})
    with pytest.raises(InvalidModelError, match="peer onnxruntime: cannot load"):
        open_peer("onnxruntime", tmp_path / "no.onnx", {})
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ToolNotFoundError, match="pip install openvino"):
        open_peer("openvino", tmp_path / "no.onnx", {})


def test_torch_names_the_operator_it_lacks(tmp_path):
    pytest.importorskip("torch")
    b = ModelBuilder()
    onnx.save(b.model([1, 3, 8, 8], b.node("Erf", "x", name="bump")), tmp_path / "model.onnx")
    with pytest.raises(UnsupportedOpError, match=r"cannot run Erf \(node 'bump'\), accepted are Add, "):
        open_peer("torch", tmp_path / "model.onnx", {"x": SHAPE})
