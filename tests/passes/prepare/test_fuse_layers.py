"""Convolutions and dense products become layers with bias, residual and activation."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from oracles.graphs import Graph, assert_unchanged, layers, specs
from oracles.networks import NETWORKS
from oracles.running import assert_close, run_stock
from tvm import relax

from espalier.core import ir_names
from espalier.core.layers import Activation, Conv2dSpec, DenseSpec
from espalier.ir.dataflow import Dataflow
from espalier.ir.operators import layer_function
from espalier.passes import pipeline
from espalier.passes.prepare.fuse_layers import FuseLayers

SHAPE = (2, 4, 6, 6)
X = np.random.default_rng(0).standard_normal(SHAPE, np.float32)


def fused(g: Graph, *outputs) -> tvm.IRModule:
    """The module after the pass; it computes what it computed before."""
    before = g.module(*outputs)
    after = FuseLayers()(before)
    for ours, theirs in zip(run_stock(after, X), run_stock(before, X)):
        assert_close(ours, theirs)
    return after


def test_before_and_expected():
    g = Graph(*SHAPE)
    after = fused(g, g.relu(g.conv(g.x, "conv", 8, strides=2)))
    spec = Conv2dSpec("conv", ("x", "weight", "bias"), Activation("relu"), strides=(2, 2), padding=(1, 1, 1, 1))
    ((_, _, call),) = layers(after).values()
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(SHAPE, "float32"))
    function = builder.add_func(layer_function(spec, call.args), "conv")
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.Call(function, [x, *call.args[1:]]))
            result = builder.emit_output(y)
        builder.emit_func_output(result)
    expected = builder.get()
    tvm.ir.assert_structural_equal(after["main"], expected["main"], map_free_vars=True)
    tvm.ir.assert_structural_equal(after[call.op], expected[function])


@pytest.mark.parametrize(
    ("activate", "activation"),
    [
        (relax.op.nn.relu, Activation("relu")),
        (relax.op.nn.relu6, Activation("clip", 0.0, 6.0)),
        (lambda y: relax.op.clip(y, -1, 2.5), Activation("clip", -1.0, 2.5)),
    ],
    ids=["relu", "relu6", "clip"],
)
@pytest.mark.parametrize("bias", [False, True])
def test_activation_after_convolution(activate, activation, bias):
    g = Graph(*SHAPE)
    after = fused(g, g.emit(activate(g.conv(g.x, "conv", 8, bias=bias))))
    (spec,) = specs(after).values()
    assert spec.activation == activation
    assert spec.roles == (("x", "weight", "bias") if bias else ("x", "weight"))


def test_parameters_of_a_convolution():
    g = Graph(*SHAPE)
    attrs = {"strides": (2, 1), "padding": (0, 1, 2, 3), "dilation": (1, 2), "groups": 2}
    (spec,) = specs(fused(g, g.conv(g.x, "conv", 8, **attrs))).values()
    assert {name: getattr(spec, name) for name in attrs} == attrs
    assert spec.activation == Activation()


def test_layers_have_the_names_of_their_products():
    g = Graph(*SHAPE)
    after = fused(g, g.head(g.relu(g.batch_norm(g.conv(g.x, "stage1.0.conv", 4))), "stage2.fc"))
    assert [spec.name for spec in specs(after).values()] == ["stage1.0.conv", "stage2.fc"]


def test_a_convolution_that_is_read_twice_takes_nothing_after_it():
    g = Graph(*SHAPE)
    conv = g.conv(g.x, "conv", 4, bias=False)
    (spec,) = specs(fused(g, g.relu(conv), g.emit(relax.op.exp(conv)))).values()
    assert (spec.roles, spec.activation) == (("x", "weight"), Activation())


def test_a_returned_convolution_keeps_its_activation_apart():
    g = Graph(*SHAPE)
    conv = g.conv(g.x, "conv", 4)
    (spec,) = specs(fused(g, conv, g.relu(conv))).values()
    assert (spec.roles, spec.activation) == (("x", "weight", "bias"), Activation())


@pytest.mark.parametrize("swapped", [False, True])
def test_identity_becomes_the_residual(swapped):
    g = Graph(*SHAPE)
    sides = [g.conv(g.x, "conv", 4), g.x]
    after = fused(g, g.relu(g.emit(relax.op.add(*reversed(sides) if swapped else sides))))
    (spec,) = specs(after).values()
    assert spec == Conv2dSpec("conv", ("x", "weight", "bias", "residual"), Activation("relu"), padding=(1, 1, 1, 1))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("shortcut_first", [False, True])
def test_of_two_convolutions_the_first_takes_the_other_as_residual(swapped, shortcut_first):
    g = Graph(*SHAPE)
    names = ["shortcut", "branch"] if shortcut_first else ["branch", "shortcut"]
    sides = [g.conv(g.x, name, 4) for name in names]
    after = fused(g, g.relu(g.emit(relax.op.add(*reversed(sides) if swapped else sides))))
    found = {spec.name: spec for spec in specs(after).values()}
    assert found[names[0]].roles == ("x", "weight", "bias", "residual")
    assert found[names[0]].activation == Activation("relu")
    assert found[names[1]].roles == ("x", "weight", "bias")
    assert found[names[1]].activation == Activation()


def test_a_chain_of_residuals():
    g = Graph(*SHAPE)
    first = g.relu(g.emit(relax.op.add(g.conv(g.x, "conv0", 4), g.x)))
    second = g.relu(g.emit(relax.op.add(first, g.conv(first, "conv1", 4))))
    found = specs(fused(g, g.head(second)))
    assert ["residual" in spec.roles for spec in found.values()] == [True, True, False]


def test_a_value_that_is_added_to_itself_is_no_residual():
    g = Graph(*SHAPE)
    conv = g.conv(g.x, "conv", 4)
    (spec,) = specs(fused(g, g.emit(relax.op.add(conv, conv)))).values()
    assert spec.roles == ("x", "weight", "bias")


def test_an_add_that_broadcasts_is_no_residual():
    g = Graph(*SHAPE)
    conv = g.conv(g.x, "conv", 4)
    mean = g.emit(relax.op.mean(conv, axis=[2, 3], keepdims=True))
    other = g.conv(g.x, "other", 4)
    found = {spec.name: spec for spec in specs(fused(g, g.emit(relax.op.add(other, mean)))).values()}
    assert found["other"].roles == ("x", "weight", "bias")


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 6, 6), (1, 1, 1, 1)])
def test_constants_of_other_shapes_stay_adds(shape):
    g = Graph(*SHAPE)
    conv = g.conv(g.x, "conv", 4, bias=False)
    (spec,) = specs(fused(g, g.emit(relax.op.add(conv, g.constant(*shape))))).values()
    assert spec.roles == ("x", "weight")


@pytest.mark.parametrize("bias", [None, (5,), (1, 5)])
@pytest.mark.parametrize("transposed", [False, True])
def test_dense_layers(bias, transposed):
    g = Graph(*SHAPE)
    mean = g.emit(relax.op.mean(g.x, axis=[2, 3]))
    weight = g.emit(relax.op.permute_dims(g.constant(5, 4))) if transposed else g.constant(4, 5)
    y = g.emit(relax.op.matmul(mean, weight), "fc")
    y = y if bias is None else g.emit(relax.op.add(y, g.constant(*bias)))
    (spec,) = specs(fused(g, g.relu(y))).values()
    assert spec == DenseSpec("fc", ("x", "weight", "bias") if bias else ("x", "weight"), Activation("relu"))


def test_a_bias_may_come_first_in_the_add():
    g = Graph(*SHAPE)
    y = g.emit(relax.op.add(g.constant(1, 4, 1, 1), g.conv(g.x, "conv", 4, bias=False)))
    (spec,) = specs(fused(g, y)).values()
    assert spec.roles == ("x", "weight", "bias")


def assert_left_alone(g: Graph, *outputs) -> None:
    mod = g.module(*outputs)
    assert_unchanged(FuseLayers()(mod), mod)


def test_unchanged_without_products():
    g = Graph(*SHAPE)
    assert_left_alone(g, g.relu(g.batch_norm(g.x)))


def test_unchanged_where_no_weight_is_constant():
    g = Graph(*SHAPE)
    rows = g.emit(relax.op.reshape(g.x, (48, 6)))
    columns = g.emit(relax.op.reshape(g.x, (6, 48)))
    kernel = g.emit(relax.op.reshape(g.emit(relax.op.strided_slice(g.x, [0], [0], [1])), (4, 4, 3, 3)))
    assert_left_alone(g, g.emit(relax.op.matmul(rows, columns)), g.emit(relax.op.nn.conv2d(g.x, kernel)))


def test_unchanged_for_products_of_stacks_of_matrices():
    g = Graph(*SHAPE)
    assert_left_alone(g, g.emit(relax.op.matmul(g.x, g.constant(6, 5))))


def test_a_second_run_changes_nothing():
    g = Graph(*SHAPE)
    once = fused(g, g.head(g.relu(g.conv(g.x, "conv", 4))))
    tvm.ir.assert_structural_equal(FuseLayers()(once)["main"], once["main"], map_free_vars=True)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_prepare_phase_keeps_the_meaning_of_whole_networks(name):
    before = NETWORKS[name](channels=5, batch=2)
    after = pipeline.apply(before, pipeline.prepare_phase())
    flow = Dataflow.of(after)
    left = {call.op.name for call in map(flow.call_of, flow.values) if call is not None}
    assert not left & {"relax.nn.conv2d", "relax.matmul", "relax.nn.batch_norm", "relax.nn.relu"}
    assert all(operator in ir_names.OPERATORS for operator, _, _ in layers(after).values())
    x = np.random.default_rng(0).standard_normal(tuple(map(int, before["main"].params[0].ty.shape)), np.float32)
    for ours, theirs in zip(run_stock(after, x), run_stock(before, x), strict=True):
        assert_close(ours, theirs)
