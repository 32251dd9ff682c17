"""The bundled network and images are what their description says."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

import espalier
from espalier.frontend import bundled


@pytest.fixture(scope="module")
def sample() -> bundled.Sample:
    return bundled.sample()


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load(bundled.model_path())


def test_shapes_and_types(sample):
    assert (sample.images.shape, sample.images.dtype) == ((1000, 3, 32, 32), np.float32)
    assert (sample.labels.shape, sample.labels.dtype) == ((1000,), np.int64)
    assert (sample.calibration_images.shape, sample.calibration_images.dtype) == ((512, 3, 32, 32), np.float32)
    assert set(sample.labels) == set(range(len(bundled.CLASSES)))


def test_calibration_images_are_not_test_images(sample):
    seen = {image.tobytes() for image in sample.images}
    assert not [image for image in sample.calibration_images if image.tobytes() in seen]


def test_normalise():
    pixels = np.zeros((1, 2, 2, 3), np.uint8)
    pixels[0, 0, 1] = (0, 128, 255)
    x = bundled.normalise(pixels)
    expected = (np.array([0, 128, 255]) / 255 - bundled.MEAN) / bundled.STD
    np.testing.assert_allclose(x[0, :, 0, 1], expected, rtol=1e-6)
    assert x.flags.c_contiguous


def test_the_model_keeps_the_layers_names(model):
    names = [node.name for node in model.graph.node if node.op_type != "Cast"]
    blocks = [f"{part}{i}" for i in range(8) for part in ("conv", "bn", "relu")]
    assert names == [*blocks, "pool", "flatten", "linear"]


def test_the_model_says_where_it_comes_from(model):
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["licence"] == "Apache-2.0"
    assert facts["input_mean"] == ", ".join(map(str, bundled.MEAN))
    assert {"network", "source", "data_set", "input_std", "accuracy"} <= facts.keys()
    assert facts["source"] in model.doc_string


def test_accuracy_on_the_sample(model, sample):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits = [session.run(["logits"], {"image": sample.images[i : i + 1]})[0][0] for i in range(200)]
    assert np.mean(np.argmax(logits, axis=1) == sample.labels[:200]) > 0.88


def test_the_model_with_gates_computes_a_quarter_and_is_right_as_often(sample):
    artifact = espalier.build(espalier.from_onnx(bundled.gated_model_path()))
    outputs = [artifact(sample.images[i : i + 1]).argmax() for i in range(200)]
    assert np.mean(np.array(outputs) == sample.labels[:200]) > 0.86
    assert sum(one.macs for one in artifact.layers) < 0.3 * sum(one.macs_dense for one in artifact.layers)


def test_the_integer_network_is_right_as_often(sample):
    artifact = espalier.build(espalier.from_onnx(bundled.integer_model_path()))
    pixels = sample.images[:200] * np.float32(bundled.STD).reshape(3, 1, 1) + np.float32(bundled.MEAN).reshape(3, 1, 1)
    outputs = [artifact(np.rint(255 * one[None])).argmax() for one in pixels]
    assert np.mean(np.array(outputs) == sample.labels[:200]) > 0.82
    assert all(one.weights == "uniform<8>" for one in artifact.layers)
