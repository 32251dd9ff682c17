"""Quantized layers are integer-only, and give what the float32 network gives within the steps of their tensors."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.graphs import Graph, assert_unchanged, pruned, random_calibration, specs
from oracles.integer_programs import run_program
from oracles.networks import concatenating, mobile, plain, residual, unusual
from oracles.running import run_stock
from tvm import relax

from espalier.build import prepare
from espalier.calibration.calibrate import calibrate
from espalier.core.calibration import Calibration, Range
from espalier.core.errors import InvalidInputError, InvalidPlanError
from espalier.core.plan import Plan
from espalier.ir.dataflow import Dataflow
from espalier.ir.rewriting import remarks_of
from espalier.passes import pipeline
from espalier.passes.analysis.float_steps import float_steps

INT8 = Plan(weights="uniform<8>")
RANDOM = np.random.default_rng(5)
FLOAT = {"weights": "float32"}


def inputs_of(mod, count: int = 16) -> np.ndarray:
    shape = [int(dim) for dim in mod["main"].params[0].ty.shape]
    return RANDOM.normal(0.2, 1, (count, *shape[1:])).astype(np.float32)


CALIBRATED: dict[tuple, tuple] = {}


def calibrated(net, plan: Plan, mode: str = "select") -> tuple:
    """(module, inputs, calibration) of a network with random gates and ranges observed under them."""
    key = (net.__name__, str(plan), mode)
    if key not in CALIBRATED:
        mod = net(channels=8, size=8) if net is not residual else net(channels=8, size=4)
        x = inputs_of(mod)
        CALIBRATED[key] = mod, x, calibrate(mod, x, plan, gates_from=random_calibration(mod, plan, mode))
    return CALIBRATED[key]


def rewritten(mod, plan: Plan, calibration: Calibration, *, quantize: bool = True):
    """The module after the phases up to the quantize phase, or the one before it."""
    mod = pipeline.apply(prepare(mod), pipeline.prune_phase(plan, calibration))
    return pipeline.apply(mod, pipeline.quantize_phase(plan, calibration)) if quantize else mod


def output(mod, x: np.ndarray) -> np.ndarray:
    """The first output for the first batch, by numpy."""
    return run_program(mod, x[: int(mod["main"].params[0].ty.shape[0])])


def assert_near(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """The mean difference is at most this part of the mean size."""
    assert np.abs(actual - expected).mean() <= tolerance * np.abs(expected).mean()


@pytest.mark.parametrize("net", [plain, residual, mobile, concatenating], ids=lambda net: net.__name__)
def test_a_network_in_integers(net):
    mod, x, calibration = calibrated(net, INT8)
    after = rewritten(mod, INT8, calibration)
    assert {spec.format for spec in specs(after).values()} == {"int8"}
    assert bool(float_steps(after)) == (net is concatenating)  # its average pool has no integer form
    assert_near(output(after, x), output(prepare(mod), x), 0.03)


@pytest.mark.parametrize("net", [plain, unusual], ids=lambda net: net.__name__)
def test_a_compiled_network_in_integers(net):
    """As TVM compiles the bodies. The unusual one has activations without an integer form, and two outputs."""
    mod, x, calibration = calibrated(net, INT8)
    after = rewritten(mod, INT8, calibration)
    for actual, expected in zip(run_stock(after, x[:1]), run_stock(prepare(mod), x[:1])):
        assert actual.dtype == np.float32
        assert_near(actual, expected, 0.03)
    if net is plain:
        np.testing.assert_array_equal(run_stock(after, x[:1])[0], output(after, x))


@pytest.mark.parametrize("mode", ["select", "boost"])
@pytest.mark.parametrize("placement", ["branch", "sum"])
@pytest.mark.parametrize("net", [plain, residual], ids=lambda net: net.__name__)
def test_a_gated_network_in_integers(net, placement, mode):
    """Saliencies that lie within the gate's steps may choose other channels: gates are made to differ by more."""
    plan = Plan(density=0.5, granularity=4, placement=placement, weights="uniform<8>")
    mod, x, calibration = calibrated(net, plan, mode)
    after, before = rewritten(mod, plan, calibration), rewritten(mod, plan, calibration, quantize=False)
    assert float_steps(after) == []
    assert {spec.format for spec in specs(after).values() if hasattr(spec, "format")} == {"int8"}
    gates = [spec for name, spec in specs(after).items() if name.endswith(".gate")]
    assert gates
    assert all(spec.integer is not None for spec in gates)
    for name, spec in specs(after).items():
        assert ("pi" in spec.roles) == (spec.name in spec_names_with_pi(before, mode) and not name.endswith(".gate"))
    assert_near(output(after, x), output(before, x), 0.2)


def spec_names_with_pi(before, mode: str) -> set[str]:
    """Layers that multiply: with a gate that selects, only those where a residual follows."""
    gated = {spec.name: spec.gate for name, spec in specs(before).items() if not name.endswith(".gate")}
    return {name for name, gate in gated.items() if gate == "branch" or (gate == "output" and mode == "boost")}


def test_a_float32_plan_changes_nothing():
    mod = pruned(plain(8), Plan())
    assert_unchanged(pipeline.apply(mod, pipeline.quantize_phase(Plan(), Calibration())), mod)


def test_float32_layers_between_integers():
    plan = Plan(weights="uniform<8>", layers={"conv1": FLOAT, "fc": FLOAT})
    mod, x, calibration = calibrated(plain, plan)
    after = rewritten(mod, plan, calibration)
    formats = {name: (spec.format, spec.out_format) for name, spec in specs(after).items()}
    assert formats == {
        "conv0": ("int8", "float32"),
        "conv1": ("float32", "float32"),
        "conv2": ("int8", "float32"),
        "fc": ("float32", "float32"),
    }
    assert_near(output(after, x), output(prepare(mod), x), 0.03)


def test_narrow_activations_have_fewer_numbers():
    plan = Plan(weights="uniform<8>", activations="uniform<4>", layers={"fc": {"activations": "uniform<8>"}})
    mod, x, calibration = calibrated(plain, plan)
    found = specs(rewritten(mod, plan, calibration))
    assert {name: found[name].integer.high for name in ("conv0", "conv1")} == {"conv0": 15, "conv1": 15}
    assert found["conv2"].integer.high == 255  # the mean of it is what the last layer reads


@pytest.mark.parametrize("text", ["uniform<4>", "shift<4>", "focused<5>", "codebook<4>", "binary", "fixed<8,7>"])
def test_every_weight_format(text):
    plan = Plan(weights=text)
    mod, x, calibration = calibrated(plain, plan)
    after = rewritten(mod, plan, calibration)
    assert float_steps(after) == []
    for spec in specs(after).values():
        assert spec.weight_format == text
    if text != "binary":
        assert_near(output(after, x), output(prepare(mod), x), 0.4)


def test_signed_tensors_have_a_zero_point_and_no_lists():
    """Two convolutions without an activation between them, the first gated: the second computes densely."""
    g = Graph(1, 4, 8, 8)
    y = g.conv(g.conv(g.x, "first", 16), "second", 8)
    mod, plan = g.module(g.head(g.relu(y))), Plan(density=0.5, granularity=4, weights="uniform<8>")
    x = inputs_of(mod)
    calibration = calibrate(mod, x, plan, gates_from=random_calibration(mod, plan))
    after = rewritten(mod, plan, calibration)
    found = specs(after)
    assert 0 < found["first"].integer.zero == found["second"].integer.x_zero
    assert "active" not in found["second"].roles
    assert found["second"].active is None
    assert any("second: computes densely" in remark for remark in remarks_of(after))
    assert_near(output(after, x), output(rewritten(mod, plan, calibration, quantize=False), x), 0.2)


def test_residuals_of_like_scale_are_plain_adds():
    mod, x, calibration = calibrated(residual, INT8)
    found = specs(rewritten(mod, INT8, calibration))
    assert found["block1.conv2"].integer.residual is not None
    even = {name: Range(min(one.low, 0), 3.0) if one.low >= 0 else one for name, one in calibration.ranges.items()}
    same = Calibration(ranges=even)
    assert specs(rewritten(mod, INT8, same))["block1.conv2"].integer.residual.is_plain
    far = Calibration(ranges={**even, "stem": Range(0, 0.01), "stem/max_pool2d": Range(0, 0.01)})
    assert not specs(rewritten(mod, INT8, far))["block1.conv2"].integer.residual.is_plain


def test_option_a_shortcuts_stay_integers():
    """A strided slice and a padding of channels, both on tensors with a zero point and without."""
    g = Graph(1, 4, 8, 8)
    for signed in (False, True):
        g = Graph(1, 4, 8, 8)
        stem = g.conv(g.x, "stem", 8)
        stem = stem if signed else g.relu(stem)
        short = g.emit(relax.op.strided_slice(stem, [2, 3], [0, 0], [8, 8], [2, 2]))
        short = g.emit(relax.op.nn.pad(short, [0, 0, 4, 4, 0, 0, 0, 0]))
        mod = g.module(g.head(g.relu(g.emit(relax.op.add(g.conv(stem, "conv", 16, strides=2), short)))))
        x = inputs_of(mod)
        after = rewritten(mod, INT8, calibrate(mod, x, INT8))
        assert float_steps(after) == []
        assert_near(output(after, x), output(prepare(mod), x), 0.03)


def test_adds_pools_and_relus_on_their_own():
    g = Graph(1, 4, 8, 8)
    left, right = g.relu(g.conv(g.x, "left", 8)), g.conv(g.x, "right", 8)
    pooled = [g.emit(relax.op.nn.max_pool2d(one, (2, 2), (2, 2), (1, 1))) for one in (left, right)]
    y = g.relu(g.emit(relax.op.add(*pooled)))
    mod = g.module(g.head(g.emit(relax.op.reshape(g.conv(y, "last", 8), (1, 8, 5, 5)))))
    x = inputs_of(mod)
    after = rewritten(mod, INT8, calibrate(mod, x, INT8))
    assert float_steps(after) == []
    assert_near(output(after, x), output(prepare(mod), x), 0.03)


def test_what_has_no_integer_form_is_said():
    mod, _, calibration = calibrated(concatenating, INT8)
    assert any("avg_pool2d: computed in float32 and" in one for one in remarks_of(rewritten(mod, INT8, calibration)))


def test_a_boost_of_a_clipped_layer_stays_in_float32():
    plan = Plan(density=0.5, granularity=4, weights="uniform<8>")
    mod, x, calibration = calibrated(mobile, plan, "boost")
    after = rewritten(mod, plan, calibration)
    assert any("stays in float32: its gate boosts" in remark for remark in remarks_of(after))
    assert_near(output(after, x), output(rewritten(mod, plan, calibration, quantize=False), x), 0.2)


def test_ranges_that_are_missing():
    mod = plain(8)
    with pytest.raises(InvalidPlanError, match=r"quantized layers need the range .*'x'.*--calibration"):
        rewritten(mod, INT8, Calibration())
    mod, _, calibration = calibrated(plain, Plan(weights="uniform<8>"))
    gated = Plan(density=0.5, granularity=4, weights="uniform<8>")
    with_gates = Calibration(random_calibration(mod, gated).gates, ranges=calibration.ranges)
    with pytest.raises(InvalidPlanError, match="no range for 'conv0.gate/ss'"):
        rewritten(mod, gated, with_gates)


def test_ranges_of_another_network():
    _, _, calibration = calibrated(plain, INT8)
    with pytest.raises(InvalidInputError, match="other weights"):
        rewritten(plain(8, seed=1), INT8, calibration)


def test_ranges_of_no_width():
    """An input that is always zero: everything is its biases, and stays so for other inputs."""
    mod = plain(8)
    x = np.zeros_like(inputs_of(mod))
    calibration = calibrate(mod, x, INT8)
    assert calibration.ranges["x"] == Range(0, 0)
    assert_near(output(rewritten(mod, INT8, calibration), x), output(prepare(mod), x), 0.03)


@pytest.mark.parametrize(("text", "tolerance"), [("uniform<8>", 0.1), ("focused<5>", 0.6)])
@pytest.mark.parametrize("kind", ["constant zero channel", "tiny channel", "outlier", "all equal"])
def test_weights_that_are_unusual(text, tolerance, kind):
    """Correct results: the network's output is near that of the float32 network all the same."""
    g = Graph(1, 4, 6, 6)
    weight = RANDOM.normal(0, 0.2, (8, 4, 3, 3)).astype(np.float32)
    if kind == "constant zero channel":
        weight[3] = 0
    elif kind == "tiny channel":
        weight[3] = RANDOM.normal(0, 1e-20, weight[3].shape)
    elif kind == "outlier":
        weight[3, 1, 1, 1] = 1e6
    else:
        weight[:] = 0.125
    bias = np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 8, 1, 1)
    y = g.emit(relax.op.add(g.emit(relax.op.nn.conv2d(g.x, relax.const(weight), padding=1), "conv"), relax.const(bias)))
    mod, plan = g.module(g.relu(y)), Plan(weights=text)
    x = inputs_of(mod)
    after = rewritten(mod, plan, calibrate(mod, x, plan))
    lines = [line for line in remarks_of(after) if "left out" in line]
    left_out = "conv: the weights of 1 of 8 channels are left out: they move their channel by less than 0.25 of a step"
    assert [line.rpartition(" or ")[0] for line in lines] == ([left_out] if kind == "tiny channel" else [])
    actual, expected = output(after, x), output(prepare(mod), x)
    for channel in range(8):
        assert_near(actual[:, channel], expected[:, channel], tolerance)


def test_sums_beyond_int32_are_refused():
    g = Graph(1, 70_000)
    mod = g.module(g.emit(relax.op.matmul(g.x, relax.const(np.ones((70_000, 4), np.float32)))))
    with pytest.raises(
        InvalidPlanError, match=r"layer .*: its sums may reach 2.27e\+09, accepted are sums below 2\^31"
    ):
        rewritten(mod, INT8, calibrate(mod, np.abs(inputs_of(mod)), INT8))


def test_names_survive():
    mod, _, calibration = calibrated(residual, INT8)
    after = rewritten(mod, INT8, calibration)
    assert specs(after).keys() == specs(prepare(mod)).keys()
    names = [var.name for var in Dataflow.of(after).values]
    assert len(names) > len(specs(after))
