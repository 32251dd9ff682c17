"""Ranges are those of what the network computes, under the gates that will run."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.graphs import Graph, random_calibration
from oracles.networks import plain

from espalier.build import build
from espalier.calibration.calibrate import calibrate
from espalier.calibration.evaluate import evaluate
from espalier.core.calibration import Calibration, Range
from espalier.core.errors import InvalidInputError
from espalier.core.plan import Plan

X = np.random.default_rng(0).normal(0.2, 1, (16, 3, 8, 8)).astype(np.float32)
INT8 = Plan(weights="uniform<8>")


def test_names_and_ends_of_what_is_read_as_integers():
    found = calibrate(plain(8), X, INT8, ranges="minmax").ranges
    assert found.keys() == {"x", "conv0", "conv1", "conv2", "conv2/mean"}
    assert found["x"] == Range(float(X.min()), float(X.max()))
    assert all(found[name].low == 0 < found[name].high for name in found if name != "x")


def test_a_layer_that_stays_in_float32_needs_none():
    plan = Plan(layers={"conv1": {"weights": "uniform<8>"}})
    assert calibrate(plain(8), X, plan).ranges.keys() == {"conv0"}


def test_ranges_are_of_the_output():
    g = Graph(1, 3, 8, 8)
    mod = g.module(g.relu(g.conv(g.relu(g.conv(g.x, "a", 8)), "b", 8)))
    whole = calibrate(mod, X, Plan(layers={"b": {"weights": "uniform<8>"}}), ranges="minmax").ranges["a"]
    g = Graph(1, 3, 8, 8)
    first = g.module(g.relu(g.conv(g.x, "a", 8)))
    assert whole.high == pytest.approx(float(evaluate(first, X).max()), rel=1e-5)


def test_gates_are_observed_and_kept():
    """A gate that boosts with large saliencies makes the outputs larger."""
    mod, plan = plain(16), Plan(density=0.5, granularity=4, weights="uniform<8>")
    small = random_calibration(mod, plan, "boost")
    large = Calibration({name: type(one)(one.phi * 9, one.rho * 9, one.mode) for name, one in small.gates.items()})
    ranges = [calibrate(mod, X, plan, gates_from=gates) for gates in (small, large)]
    assert ranges[0].gates is small.gates
    for name in ("conv0", "conv0.gate/pi"):
        assert ranges[1].ranges[name].high == pytest.approx(9 * ranges[0].ranges[name].high, rel=0.2)
    assert {"conv0.gate/ss", "conv1.gate/ss", "conv2.gate/pi"} <= ranges[0].ranges.keys()


def test_calibrating_fits_gates_and_then_observes():
    steps = []
    plan = Plan(density=0.5, weights="uniform<8>")
    found = calibrate(plain(16), X, plan, ridges=(1.0,), progress=lambda *step: steps.append(step))
    assert found.gates.keys() == {"conv0", "conv1", "conv2"}
    assert "conv1.gate/ss" in found.ranges
    assert found.remarks[-1].startswith("ranges of ")
    assert steps[-1][0] == steps[-1][1] == len(steps)


def test_a_float32_plan_observes_nothing():
    assert calibrate(plain(8), X, Plan()).ranges == {}


def near_float32(mod, plan: Plan, calibration: Calibration) -> bool:
    """Whether compiled integers give the float32 outputs within a twentieth, and not one output for all inputs."""
    program, real = build(mod, plan=plan, calibration=calibration), build(mod)
    got, expected = (np.concatenate([one(x[None]) for x in X]) for one in (program, real))
    return np.abs(got - expected).mean() < 0.05 * np.abs(expected).mean() and got.std(0).min() > 0


@pytest.mark.parametrize("ranges", ["mse", "percentile"])
@pytest.mark.parametrize("outlier", [1e3, 1e6])
def test_one_pixel_beyond_all_others(ranges, outlier):
    """All layers behind it see a sample of such values; it costs the other inputs nothing, and is told."""
    mod, x = plain(8), X.copy()
    x[5, 1, 4, 4] = outlier
    found = calibrate(mod, x, INT8, ranges=ranges)
    clean = calibrate(mod, X, INT8, ranges=ranges)
    for name, one in clean.ranges.items():
        assert found.ranges[name].high == pytest.approx(one.high, rel=0.25)
    assert near_float32(mod, INT8, found)
    lines = [line for line in found.remarks if "samples reach" in line]
    assert [line.split(":")[0] for line in lines] == ["x", "conv0", "conv1", "conv2", "conv2/mean"]
    seen, taken = f"{x.min():.4g} to {outlier:.4g}", f"{found.ranges['x'].low:.4g} to {found.ranges['x'].high:.4g}"
    assert lines[0] == f"x: 1 of 16 samples reach more than 8 times as far as all others: seen is {seen}, taken {taken}"
    assert not [line for line in clean.remarks if "samples reach" in line]


def test_a_gates_numbers_are_not_those_of_an_outlier():
    mod, plan, x = plain(16), Plan(density=0.5, granularity=4, weights="uniform<8>"), X.copy()
    x[5, 1, 4, 4] = 1e6
    gates = random_calibration(mod, plan, "boost")
    clean, found = (calibrate(mod, given, plan, gates_from=gates).ranges for given in (X, x))
    for name in ("conv0.gate/ss", "conv0.gate/pi", "conv2.gate/pi"):
        assert found[name].high == pytest.approx(clean[name].high, rel=0.25)


def test_everything_that_was_seen_is_taken_if_asked_for_and_what_it_costs_is_told():
    x = X.copy()
    x[5, 1, 4, 4] = 1e6
    found = calibrate(plain(8), x, INT8, ranges="minmax")
    assert found.ranges["x"].high == 1e6
    assert any(line.startswith("x: 99.97% of its values other than 0 are less than half") for line in found.remarks)


def test_bad_input():
    for bad, message in ((np.full_like(X, np.nan), "not finite"), (X[:, :2], r"got float32 \[16, 2, 8, 8\]")):
        with pytest.raises(InvalidInputError, match=message):
            calibrate(plain(8), bad, INT8)
    with pytest.raises(InvalidInputError, match="ranges: got 'max'"):
        calibrate(plain(8), X, INT8, ranges="max")
