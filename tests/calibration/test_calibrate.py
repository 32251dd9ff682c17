"""A calibration fits the network it was made for, and bad inputs are refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from espalier.build import build, prepare
from espalier.calibration.calibrate import calibrate
from espalier.calibration.evaluate import evaluate
from espalier.calibration.selection import Predicted, Random, StaticContribution, StaticMagnitude
from espalier.core.calibration import Calibration, digest
from espalier.core.errors import InvalidInputError, InvalidPlanError
from espalier.core.plan import Plan
from espalier.frontend.onnx import from_onnx
from espalier.passes.prune.replace_weights import layer_weights, model_digest
from tests.models import ModelBuilder, depthwise_net, plain_net, residual_net

NETS = {"plain": plain_net, "residual": residual_net, "depthwise": lambda: depthwise_net(size=16)}


def samples(count: int = 32, size: int = 8, seed: int = 0) -> np.ndarray:
    """Images with a brightness and a contrast of their own for each channel."""
    random = np.random.default_rng(seed)
    scale, shift = random.uniform(0.2, 2, (count, 3, 1, 1)), random.normal(size=(count, 3, 1, 1))
    return (random.normal(size=(count, 3, size, size)) * scale + shift).astype(np.float32)


@pytest.mark.parametrize("placement", ["inner", "branch", "sum"])
@pytest.mark.parametrize("net", NETS)
def test_artifacts_compute_what_the_interpreter_does(net, placement):
    mod, plan = from_onnx(NETS[net]()), Plan(density=0.5, placement=placement)
    x = samples(32, 16 if net == "depthwise" else 8)
    calibration = calibrate(mod, x, plan, ridges=(1e-3,))
    assert calibration.gates
    expected = evaluate(mod, x, plan, calibration)
    for lower in (True, False):
        artifact = build(mod, plan=plan, calibration=calibration, lower=lower)
        actual = np.concatenate([artifact(one[None]) for one in x[:8]])
        np.testing.assert_allclose(actual, expected[:8], rtol=1e-3, atol=1e-4)


def test_batches_have_choices_of_their_own():
    plan, x = Plan(density=0.5), samples()
    single, double = (from_onnx(plain_net(batch=batch)) for batch in (1, 2))
    calibration = calibrate(double, x, plan, ridges=(1e-3,))
    one_by_one = calibrate(single, x, plan, ridges=(1e-3,))
    np.testing.assert_allclose(calibration.gates["conv1"].rho, one_by_one.gates["conv1"].rho, rtol=1e-3)
    artifact = build(double, plan=plan, calibration=calibration)
    actual = np.concatenate([artifact(x[i : i + 2]) for i in range(0, 32, 2)])
    np.testing.assert_allclose(actual, evaluate(single, x, plan, calibration), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("net", NETS)
def test_fitted_weights_bring_the_network_back(net):
    """Closer to the dense outputs than the same gates without new weights, also on inputs it has not seen."""
    mod, plan = from_onnx(NETS[net]()), Plan(density=0.5)
    size = 16 if net == "depthwise" else 8
    x, unseen = samples(64, size), samples(64, size, seed=1)
    dense = evaluate(mod, unseen)
    errors = {}
    for reconstruct in (True, False):
        calibration = calibrate(mod, x, plan, reconstruct=reconstruct)
        errors[reconstruct] = np.square(evaluate(mod, unseen, plan, calibration) - dense).mean()
    assert errors[True] < 0.5 * errors[False]


def test_gates_alone_leave_the_weights():
    calibration = calibrate(from_onnx(plain_net()), samples(), Plan(density=0.5), reconstruct=False, reorder=False)
    assert calibration.weights == {}
    assert calibration.gates.keys() == {"conv0", "conv1"}


def test_full_density_changes_nothing():
    mod = from_onnx(residual_net())
    for plan in (Plan(), Plan(density=0.99, granularity=4)):  # 0.99 of four groups keeps all four
        calibration = calibrate(mod, samples(), plan)
        assert (calibration.gates, calibration.weights) == ({}, {})
        assert calibration.remarks[0].startswith("no gate was fitted")
        np.testing.assert_array_equal(evaluate(mod, samples(), plan, calibration), evaluate(mod, samples()))


def test_layers_before_the_first_gate_keep_their_weights():
    plan = Plan(layers={"conv1": {"density": 0.5}})
    calibration = calibrate(from_onnx(plain_net()), samples(), plan, reorder=False)
    assert calibration.gates.keys() == {"conv1"}
    assert len(calibration.weights) == 1  # the dense layer behind it
    assert calibration.weights.keys().isdisjoint({"conv0", "conv1"})


def test_what_a_calibration_says_of_itself():
    mod, x = from_onnx(plain_net()), samples()
    calibration = calibrate(mod, x, Plan(density=0.5), ridges=(0.01, 1.0))
    assert calibration.model_digest == model_digest(prepare(mod))
    assert calibration.inputs_digest == digest({"x": x})
    assert "ridge 0.01" in calibration.remarks[0]
    assert "ridge 1" in calibration.remarks[0]
    assert [remark.split(":")[0] for remark in calibration.remarks[1:]] == ["conv0", "conv1"]


def test_the_same_seed_gives_the_same_calibration(tmp_path):
    mod, x, plan = from_onnx(residual_net()), samples(), Plan(density=0.5)
    first, again = (calibrate(mod, {"x": x}, plan, seed=3) for _ in range(2))
    first.save(tmp_path / "first.npz")
    back = Calibration.load(tmp_path / "first.npz")
    assert back.remarks == first.remarks == again.remarks
    np.testing.assert_array_equal(evaluate(mod, x, plan, back), evaluate(mod, x, plan, again))


def test_another_network_refuses_the_weights():
    calibration = calibrate(from_onnx(plain_net()), samples(), Plan(density=0.5))
    with pytest.raises(InvalidInputError, match="calibrate again"):
        evaluate(from_onnx(plain_net(seed=1)), samples(), Plan(density=0.5), calibration)


def test_controls():
    mod, plan, x = from_onnx(plain_net()), Plan(density=0.5), samples()
    options = {"reconstruct": False, "reorder": False}
    for selection in (StaticMagnitude(), StaticContribution()):
        calibration = calibrate(mod, x, plan, selection=selection, **options)
        assert not any(gate.phi.any() for gate in calibration.gates.values())
        assert "changes between inputs by 0.00" in calibration.remarks[-1]
        artifact = build(mod, plan=plan, calibration=calibration)
        actual = np.concatenate([artifact(one[None]) for one in x])
        np.testing.assert_allclose(actual, evaluate(mod, x, plan, calibration), rtol=1e-3, atol=1e-4)
    predicted = calibrate(mod, x, plan, selection=Predicted(1e-3), **options)
    assert all(gate.phi.any() for gate in predicted.gates.values())


def test_random_selection_has_weights_and_no_gates():
    mod, plan, x = from_onnx(plain_net()), Plan(density=0.5), samples()
    calibration = calibrate(mod, x, plan, selection=Random())
    assert calibration.gates == {}
    assert calibration.weights
    first, second = (evaluate(mod, x, plan, calibration, np.random.default_rng(seed)) for seed in (1, 2))
    assert not np.allclose(first, second)
    with pytest.raises(InvalidPlanError, match="needs gates"):
        evaluate(mod, x, plan, calibration)


def test_magnitude_is_that_of_the_filters():
    mod, x = from_onnx(plain_net()), samples()
    calibration = calibrate(mod, x, Plan(density=0.5), selection=StaticMagnitude(), reorder=False)
    weight = layer_weights(prepare(mod))["conv0"].weight
    np.testing.assert_allclose(calibration.gates["conv0"].rho, np.abs(weight).sum((1, 2, 3)), rtol=1e-5)


def test_progress_reaches_its_end():
    seen = []
    calibrate(from_onnx(plain_net()), samples(), Plan(density=0.5), progress=lambda *step: seen.append(step))
    done, total, label = zip(*seen)
    assert list(done) == list(range(1, total[0] + 1))
    assert set(total) == {len(seen)}
    assert label[0].startswith("order of channels: ")


def test_an_output_that_is_no_classifier():
    b = ModelBuilder()
    y = b.conv(b.relu(b.conv("x", "a", 3, 16)), "b", 16, 4)
    calibration = calibrate(from_onnx(b.model([1, 3, 8, 8], y)), samples(), Plan(density=0.5))
    assert "mean squared error" in calibration.remarks[0]


def test_a_single_group_of_inputs():
    calibration = calibrate(from_onnx(plain_net(batch=16)), samples(16), Plan(density=0.5))
    assert calibration.gates


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (samples(15), r"input x: got 15 samples, accepted are at least 16, a multiple of the model's batch 2"),
        (samples(17), r"input x: got 17 samples"),
        (samples(16, size=9), r"got float32 \[16, 3, 9, 9\], accepted is float32 \[S, 3, 8, 8\]"),
        (samples(16).astype(np.float64), r"got float64 \[16, 3, 8, 8\]"),
        (samples(16)[0], r"got float32 \[3, 8, 8\]"),
        (np.full((16, 3, 8, 8), np.nan, np.float32), "input x: a value is not finite"),
        ({"y": samples(16)}, "input y: unknown, accepted are x"),
        ({}, "input x: missing, accepted are x"),
    ],
)
def test_bad_inputs(inputs, message):
    with pytest.raises(InvalidInputError, match=message):
        calibrate(from_onnx(plain_net(batch=2)), inputs, Plan(density=0.5))


def test_bad_options():
    mod, plan = from_onnx(plain_net()), Plan(density=0.5)
    with pytest.raises(InvalidInputError, match="mode: got 'boost', accepted is"):
        calibrate(mod, samples(), plan, mode="boost")
    for ridge in (0, -1.0, float("inf"), "1", True):
        with pytest.raises(InvalidInputError, match="ridge: got .*, accepted is a number above 0"):
            calibrate(mod, samples(), plan, ridges=(ridge,))
    with pytest.raises(InvalidInputError, match="no ridges"):
        calibrate(mod, samples(), plan, ridges=())
    with pytest.raises(InvalidPlanError, match="no layer is called 'conv9'"):
        calibrate(mod, samples(), Plan(layers={"conv9": {"density": 0.5}}))
