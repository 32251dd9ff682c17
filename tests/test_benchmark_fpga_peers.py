"""The benchmark against other makers of accelerators: the same integers in all of them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from rtl_projects import needs_icarus

import espalier

torch = pytest.importorskip("torch")
pytest.importorskip("hls4ml")
pytest.importorskip("da4ml")

from support import digits, fpga_peers  # noqa: E402 - they import all three


@pytest.fixture(scope="module")
def codes():
    return digits.images()[0][:12]


@pytest.fixture(scope="module")
def layers(codes):
    """Not trained: random weights compute as well."""
    torch.manual_seed(0)
    return digits.quantized(digits.model().eval(), codes)


@pytest.fixture(scope="module")
def logic(layers):
    return fpga_peers.da4ml_logic(layers)


def test_the_qdq_model_means_these_integers(layers, codes, tmp_path):
    onnx.save(digits.to_onnx(layers), tmp_path / "digits.onnx")
    artifact = espalier.build(espalier.from_onnx(tmp_path / "digits.onnx"))
    pixels = np.ldexp(codes.astype(np.float32), digits.PIXEL_EXPONENT)
    logits = np.concatenate([artifact(one[None]) for one in pixels])
    np.testing.assert_array_equal(np.ldexp(logits, -layers[-1].y_exponent), digits.answers(layers, codes))


def test_integers_stay_near_the_trained_numbers(layers, codes):
    logits = digits.with_integer_weights(layers)(digits.real(codes)).detach().numpy()
    steps = np.ldexp(logits, -layers[-1].y_exponent) - digits.answers(layers, codes)
    assert 0 < np.abs(steps).max() < 4


def test_da4ml_computes_them_with_ties_rounded_up(layers, codes, logic):
    found = logic.predict(codes.astype(float))
    np.testing.assert_array_equal(found, digits.answers(layers, codes, ties_up=True))


@needs_icarus
def test_the_verilog_of_da4ml_gives_an_image_every_cycle(layers, codes, logic, tmp_path):
    found = fpga_peers.Da4mlProject.written(logic, tmp_path).simulated(codes)
    np.testing.assert_array_equal(found, digits.answers(layers, codes, ties_up=True))


def test_ties_are_to_even_or_up():
    layer = digits.Layer(np.ones((1, 1, 1, 1), np.int8), np.zeros(1, np.int32), 0, 0, 1, True)
    codes = np.array([1, 3, 5, 255], np.uint8).reshape(4, 1, 1, 1)
    assert digits.answers([layer], codes).ravel().tolist() == [0, 2, 2, 127]
    assert digits.answers([layer], codes, ties_up=True).ravel().tolist() == [1, 2, 3, 127]


def test_types_of_hls4ml_hold_our_numbers(layers):
    widths = fpga_peers.hls4ml_widths(digits.model(), layers)
    first, last = layers[0], layers[-1]
    assert list(widths) == ["input_1", "_0", "_1", "_2", "_3", "_4", "_5", "_7"]
    assert widths["input_1"] == {"result": "ufixed<8,0,TRN,WRAP>"}
    assert widths["_0"]["weight"] == f"fixed<8,{8 + first.exponent},TRN,WRAP>"
    assert widths["_1"] == {"result": f"ufixed<8,{8 + first.y_exponent},RND_CONV,SAT>"}
    assert widths["_7"]["result"] == f"fixed<8,{8 + last.y_exponent},RND_CONV,SAT>"


@pytest.mark.slow
def test_hls4ml_computes_them(layers, codes, tmp_path):
    np.testing.assert_array_equal(fpga_peers.hls4ml_answers(layers, codes, tmp_path), digits.answers(layers, codes))
