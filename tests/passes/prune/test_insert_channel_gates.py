"""Gates appear before the layers that a plan wants gated, with parameters that fit."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.graphs import Graph, assert_unchanged, layers, random_calibration, specs
from oracles.networks import mobile, plain, residual
from oracles.running import run_stock
from tvm import relax

from espalier.build import prepare
from espalier.core.calibration import Gate
from espalier.core.errors import InvalidInputError, InvalidPlanError
from espalier.core.layers import ActiveList, ChannelGateSpec
from espalier.core.plan import Plan
from espalier.ir.dataflow import Dataflow, argument
from espalier.ir.rewriting import remarks_of
from espalier.passes.prune.insert_channel_gates import InsertChannelGates


def gated(mod, plan: Plan, mode: str = "select"):
    """The prepared module with gates of random parameters."""
    return InsertChannelGates(plan, random_calibration(mod, plan, mode).gates)(prepare(mod))


def test_a_gate_reads_the_input_of_its_layer():
    mod = gated(plain(), Plan(density=0.5), "boost")
    found = layers(mod)
    assert list(found) == ["conv0.gate", "conv0", "conv1.gate", "conv1", "conv2.gate", "conv2", "fc"]
    for name in ("conv0", "conv1", "conv2"):
        (_, gate, gate_call), (_, layer, call) = found[f"{name}.gate"], found[name]
        assert gate == ChannelGateSpec(name, "boost", 4, 2)
        assert gate_call.args[0].same_as(call.args[0])
        assert (layer.gate, layer.roles[-2:], layer.winners) == ("output", ("pi", "winners"), ActiveList(2, 4))
        gate_results = [Dataflow.of(mod).values[argument(layer, call, role)] for role in ("pi", "winners")]
        assert [result.index for result in gate_results] == [0, 1]


def test_unchanged_without_densities_below_one():
    mod = prepare(residual())
    assert_unchanged(InsertChannelGates(Plan(), {})(mod), mod)


def test_the_report_has_a_line_for_what_is_not_gated():
    remarks = remarks_of(gated(plain(), Plan(density=0.5)))
    assert remarks == ["fc: not gated: only convolutions are gated"]


@pytest.mark.parametrize("placement", ["inner", "branch", "sum"])
def test_gates_of_a_residual_network(placement):
    found = specs(gated(residual(), Plan(density=0.5, placement=placement)))
    gates = {name: spec.gate for name, spec in found.items() if not name.endswith(".gate")}
    expected = {
        "inner": {"stem": "none", "block1.conv2": "none", "block2.shortcut": "none", "block3.conv2": "none"},
        "branch": {"stem": "output", "block1.conv2": "branch", "block2.shortcut": "output", "block3.conv2": "output"},
        "sum": {"stem": "output", "block1.conv2": "output", "block2.shortcut": "listed", "block3.conv2": "listed"},
    }[placement]
    assert {name: gates[name] for name in expected} == expected
    assert gates["block1.conv1"] == "output"


def test_followers_take_the_list_of_the_layer_they_follow():
    found = layers(gated(mobile(), Plan(density=0.5)))
    (_, leader, leader_call), (_, follower, call) = found["stem"], found["depthwise0"]
    assert follower.roles[-1] == "winners"
    assert "pi" not in follower.roles
    assert argument(follower, call, "winners").same_as(argument(leader, leader_call, "winners"))


def test_a_follower_before_its_leaders_gate_is_computed_whole():
    """The shortcut is done before the gate of the sum has its input."""
    g = Graph(1, 16, 8, 8)
    x = g.relu(g.conv(g.x, "stem", 16))
    shortcut = g.emit(relax.op.nn.max_pool2d(g.conv(x, "shortcut", 16, 1), (1, 1)))
    inner = g.relu(g.conv(x, "inner", 16))
    mod = g.module(g.head(g.relu(g.emit(relax.op.add(g.conv(inner, "adding", 16), shortcut)))))
    after = gated(mod, Plan(density=0.5, placement="sum"))
    assert specs(after)["shortcut"].gate == "none"
    assert "shortcut: not gated: it is computed before the gate of adding" in remarks_of(after)


def test_unchanged_when_every_gate_would_keep_everything():
    mod = prepare(plain())
    assert_unchanged(InsertChannelGates(Plan(density=0.99), {})(mod), mod)


def test_winners_are_what_they_were_and_losers_are_zero():
    g = Graph(2, 3, 6, 6)
    conv = g.relu(g.conv(g.x, "conv", 8))
    mod, plan = g.module(conv, g.conv(conv, "reader", 4)), Plan(density=0.5, granularity=1)
    x = np.random.default_rng(1).standard_normal((2, 3, 6, 6), np.float32)
    before, after = run_stock(mod, x)[0], run_stock(gated(mod, plan), x)[0]
    kept = after.any((2, 3))
    np.testing.assert_array_equal(kept.sum(1), [4, 4])
    np.testing.assert_array_equal(after[kept], before[kept])


def test_missing_gates_name_the_layer_and_the_flag():
    with pytest.raises(InvalidPlanError, match="'conv0': a density below 1 needs gates.*calibration"):
        InsertChannelGates(Plan(density=0.5), {})(prepare(plain()))


def test_a_trained_gate_that_the_plan_does_not_use_is_refused():
    mod, plan = residual(), Plan(density=0.5, placement="branch")
    trained, fitted = (random_calibration(mod, plan, mode).gates for mode in ("boost", "select"))
    with pytest.raises(InvalidPlanError, match="it has a trained gate, which a plan of placement 'inner'"):
        InsertChannelGates(Plan(density=0.5), trained)(prepare(mod))
    assert specs(InsertChannelGates(Plan(density=0.5), fitted)(prepare(mod)))


def test_a_gate_of_the_wrong_shape_is_refused():
    gates = {name: Gate(np.ones((5, 16), np.float32), np.ones(16, np.float32)) for name in ("conv0", "conv1", "conv2")}
    with pytest.raises(InvalidInputError, match=r"'conv0': phi is \[5, 16\], accepted is \[3, 16\]"):
        InsertChannelGates(Plan(density=0.5), gates)(prepare(plain()))
