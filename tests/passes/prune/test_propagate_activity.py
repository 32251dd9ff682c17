"""Lists of active channels reach every layer that may use them, and no other."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.graphs import Graph, assert_unchanged, layers, pruned, random_calibration, specs
from oracles.networks import NETWORKS, concatenating, mobile, plain, residual
from oracles.running import assert_close, run_stock
from tvm import relax

from espalier.build import prepare
from espalier.core.layers import ActiveList
from espalier.core.plan import Plan
from espalier.ir.dataflow import Dataflow, argument
from espalier.ir.rewriting import remarks_of
from espalier.passes.prune.insert_channel_gates import InsertChannelGates
from espalier.passes.prune.propagate_activity import PropagateActivity

HALF = Plan(density=0.5)
LIST = ActiveList(2, 4)
X = np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32)


def before_and_after(mod, plan: Plan = HALF):
    """The gated module, and the same after the pass."""
    gated = InsertChannelGates(plan, random_calibration(mod, plan).gates)(prepare(mod))
    return gated, PropagateActivity()(gated)


def reader_after(between) -> tuple:
    """(the active list of the layer that reads a gated tensor through `between`, the remarks of the pass)."""
    g = Graph(*X.shape)
    y = between(g, g.relu(g.conv(g.x, "gated", 16)))
    rank = len(y.ty.shape)
    mod = g.module(g.conv(y, "reader", 4) if rank == 4 else g.dense(y, "reader", 4))
    gated, after = before_and_after(mod, Plan(density=0.5, placement="branch"))
    active = specs(after)["reader"].active
    if active:
        assert_close(run_stock(after, X)[0], run_stock(gated, X)[0])
    return active, remarks_of(after)[len(remarks_of(gated)) :]


KEEPING = {
    "relu": lambda g, y: g.relu(y),
    "relu6": lambda g, y: g.emit(relax.op.nn.relu6(y)),
    "tanh": lambda g, y: g.emit(relax.op.tanh(y)),
    "silu": lambda g, y: g.emit(relax.op.nn.silu(y)),
    "gelu": lambda g, y: g.emit(relax.op.nn.gelu(y)),
    "leaky relu": lambda g, y: g.emit(relax.op.nn.leakyrelu(y, 0.1)),
    "clip around zero": lambda g, y: g.emit(relax.op.clip(y, -1, 1)),
    "max pool": lambda g, y: g.emit(relax.op.nn.max_pool2d(y, (3, 3), (2, 2), (1, 1))),
    "avg pool": lambda g, y: g.emit(relax.op.nn.avg_pool2d(y, (2, 2), (2, 2))),
    "adaptive avg pool": lambda g, y: g.emit(relax.op.nn.adaptive_avg_pool2d(y, (2, 2))),
    "mean": lambda g, y: g.emit(relax.op.mean(y, axis=[2, 3])),
    "mean, negative axes": lambda g, y: g.emit(relax.op.mean(y, axis=[-1, -2], keepdims=True)),
    "flatten": lambda g, y: g.emit(relax.op.reshape(g.emit(relax.op.mean(y, axis=[2, 3], keepdims=True)), (2, 16))),
    "squeeze": lambda g, y: g.emit(relax.op.squeeze(g.emit(relax.op.mean(y, axis=[2, 3], keepdims=True)), [2, 3])),
    "added to itself": lambda g, y: g.emit(relax.op.add(y, y)),
    "added to its tanh": lambda g, y: g.emit(relax.op.add(y, g.emit(relax.op.tanh(y)))),
}


@pytest.mark.parametrize("between", KEEPING)
def test_the_list_runs_through(between):
    assert reader_after(KEEPING[between]) == (LIST, [])


LOSING = {
    "sigmoid": (lambda g, y: g.emit(relax.op.sigmoid(y)), "sigmoid may turn zeros into other values"),
    "exp": (lambda g, y: g.emit(relax.op.exp(y)), "exp may turn zeros into other values"),
    "clip above zero": (lambda g, y: g.emit(relax.op.clip(y, 0.5, 1)), "clip may turn zeros into other values"),
    "a constant is added": (
        lambda g, y: g.emit(relax.op.add(y, relax.const(np.float32(1)))),
        "an add joins two different lists",
    ),
    "another list is added": (
        lambda g, y: g.emit(relax.op.add(y, g.relu(g.conv(y, "other", 16)))),
        "joins two different lists",
    ),
    "channels are regrouped": (
        lambda g, y: g.emit(relax.op.reshape(g.emit(relax.op.mean(y, axis=[2, 3], keepdims=True)), (2, 4, 2, 2))),
        "reshape may turn zeros into other values",
    ),
    "the mean of everything": (
        lambda g, y: g.emit(relax.op.broadcast_to(g.emit(relax.op.mean(y, keepdims=True)), (2, 16, 2, 2))),
        "mean may turn zeros into other values",
    ),
}


@pytest.mark.parametrize("between", LOSING)
def test_the_list_is_lost_with_a_remark(between):
    build, why = LOSING[between]
    active, remarks = reader_after(build)
    assert active is None
    assert any("compute densely" in remark and why in remark for remark in remarks)


def test_gates_take_lists_too():
    found = specs(pruned(plain(), HALF))
    assert found["conv0.gate"].active is None
    for name in ("conv1.gate", "conv1", "conv2.gate", "conv2", "fc"):
        assert found[name].active == LIST


def test_the_sum_of_a_residual_network_keeps_one_list_through_the_trunk():
    found = layers(pruned(residual(), Plan(density=0.5, placement="sum")))
    _, leader, leader_call = found["block1.conv2"]
    for name in ("block2.conv1", "block2.shortcut", "block2.conv1.gate", "block2.conv2.gate"):
        assert found[name][1].active is not None
    _, reader, call = found["block2.conv1"]
    assert argument(reader, call, "active").same_as(argument(leader, leader_call, "winners"))
    assert found["fc"][1].active is not None


def test_a_branch_joins_two_lists_and_says_so():
    after = pruned(residual(), Plan(density=0.5, placement="branch"))
    assert specs(after)["block2.conv1"].active is None
    lost = "block1.conv2: readers of its output compute densely: a residual add joins two different lists"
    assert lost in remarks_of(after)


def test_depthwise_layers_hand_on_the_list_they_follow():
    found = specs(pruned(mobile(), HALF))
    assert found["depthwise0"].active is None
    assert found["pointwise0"].active == found["depthwise0"].winners == LIST


def test_a_grouped_layer_loses_the_list():
    active, remarks = reader_after(lambda g, y: g.relu(g.conv(y, "grouped", 16, groups=4)))
    assert active is None
    assert remarks == ["grouped: readers of its output compute densely: a grouped convolution does not keep zeros"]


def concatenation(plan: Plan, right: int = 32):
    """The module after the prune phase, where "right" has this many channels."""
    g = Graph(*X.shape)
    parts = [g.relu(g.conv(g.x, "left", 16)), g.relu(g.conv(g.x, "right", right))]
    mod = g.module(g.conv(g.emit(relax.op.concat(parts, axis=1)), "reader", 4))
    gated, after = before_and_after(mod, plan)
    assert_close(run_stock(after, X)[0], run_stock(gated, X)[0])
    return after


def test_concatenation_of_two_gated_parts():
    after = concatenation(Plan(density=0.5, granularity=4))
    assert specs(after)["reader"].active == ActiveList(2 + 4, 4)


def test_concatenation_of_a_gated_and_a_dense_part():
    after = concatenation(Plan(density=0.5, granularity=4, layers={"right": {"density": 1.0}}))
    assert specs(after)["reader"].active == ActiveList(2 + 8, 4)


def test_the_list_of_a_concatenation_is_moved():
    """Every listed number, on data: the left part's own, the right part's behind all groups of the left."""
    after = concatenation(Plan(density=0.5, granularity=4))
    flow = Dataflow.of(after)
    _, spec, call = layers(after)["reader"]
    listed = argument(spec, call, "active")
    assert flow.call_of(listed).op.name == "relax.concat"
    winners = [argument(spec, call, "winners") for _, spec, call in (layers(after)[name] for name in ("left", "right"))]
    left, right = flow.call_of(listed).args[0].fields
    moved = [flow.call_of(part) for part in (left, right)]
    assert [move.args[0].same_as(one) for move, one in zip(moved, winners)] == [True, True]
    assert [int(move.args[1].value.numpy()) for move in moved] == [0, 4]


def test_lists_of_two_granularities_are_joined_in_the_finer_one():
    after = concatenation(Plan(density=0.5))
    assert specs(after)["left"].winners == ActiveList(2, 4)
    assert specs(after)["right"].winners == ActiveList(2, 8)
    assert specs(after)["reader"].active == ActiveList(2 + 4, 4)


def test_concatenation_with_a_dense_part_that_no_group_divides():
    after = concatenation(Plan(density=0.5, layers={"right": {"density": 1.0}}), right=17)
    assert specs(after)["reader"].active is None
    assert any("no granularity in common" in remark for remark in remarks_of(after))


def test_unchanged_without_gates():
    mod = prepare(concatenating())
    assert_unchanged(PropagateActivity()(mod), mod)


def test_a_second_run_changes_nothing():
    mod = pruned(plain(), HALF)
    assert_unchanged(PropagateActivity()(mod), mod)


@pytest.mark.parametrize("name", NETWORKS)
def test_meaning_is_kept_in_whole_networks(name):
    mod = NETWORKS[name](batch=2)
    gated, after = before_and_after(mod, Plan(density=0.5, granularity=4, placement="sum"))
    x = np.random.default_rng(0).standard_normal(tuple(map(int, mod["main"].params[0].ty.shape)), np.float32)
    for ours, theirs in zip(run_stock(after, x), run_stock(gated, x), strict=True):
        assert_close(ours, theirs)
