"""The view of main: definitions, users, layers, constants."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.graphs import Graph
from tvm import relax

from espalier.core import ir_names
from espalier.ir.dataflow import Dataflow, argument, constant, dtype_of, shape_of
from espalier.ir.rewriting import remarks_of, with_remarks
from espalier.passes.prepare.fuse_layers import FuseLayers


@pytest.fixture
def graph():
    return Graph(1, 3, 8, 8)


def test_values_and_users_are_in_program_order(graph):
    first, second = graph.relu(graph.x), graph.emit(relax.op.abs(graph.x))
    both = graph.emit(relax.op.add(first, second))
    flow = Dataflow.of(graph.module(both))
    assert [flow.call_of(var).op.name for var in list(flow.values)[:3]] == ["relax.nn.relu", "relax.abs", "relax.add"]
    assert flow.users[graph.x] == [first, second]
    assert flow.users[first] == flow.users[second] == [both]


def test_only_user(graph):
    relu = graph.relu(graph.x)
    total = graph.emit(relax.op.add(relu, relu))
    used_twice = graph.emit(relax.op.abs(total))
    more = [graph.emit(relax.op.exp(used_twice)), graph.emit(relax.op.sqrt(used_twice))]
    flow = Dataflow.of(graph.module(*more, total))
    assert flow.only_user(graph.x) == relu
    assert flow.only_user(relu) == total
    assert flow.only_user(used_twice) is None


def test_a_returned_value_has_no_only_user(graph):
    relu = graph.relu(graph.x)
    graph.emit(relax.op.abs(relu))
    flow = Dataflow.of(relax.transform.CanonicalizeBindings()(graph.module(relu)))
    assert len(flow.users[flow.result]) == 1
    assert flow.only_user(flow.result) is None


def test_call_of_filters_by_operator(graph):
    relu = graph.relu(graph.x)
    flow = Dataflow.of(graph.module(relu))
    assert flow.call_of(relu, "relax.abs", "relax.nn.relu").op.name == "relax.nn.relu"
    assert flow.call_of(relu, "relax.abs") is None
    assert flow.call_of(graph.x) is None
    assert flow.call_of(relax.const(1.0)) is None


def test_layer_of_finds_operator_spec_and_call(graph):
    relu = graph.relu(graph.conv(graph.x, "conv0", 4))
    mod = FuseLayers()(graph.module(graph.emit(relax.op.exp(relu))))
    flow = Dataflow.of(mod)
    layers = [flow.layer_of(var) for var in flow.values]
    assert layers[1] is None
    operator, spec, call = layers[0]
    assert (operator, spec.name) == (ir_names.CONV2D, "conv0")
    assert argument(spec, call, "x") == mod["main"].params[0]
    assert constant(argument(spec, call, "bias")).shape == (4,)
    assert argument(spec, call, "residual") is None


def test_constants_shapes_and_types():
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    one = relax.const(array)
    np.testing.assert_array_equal(constant(one), array, strict=True)
    assert constant(relax.Var("x", relax.TensorType((2,), "float32"))) is None
    assert (shape_of(one), dtype_of(one)) == ((2, 3), "int32")


def test_remarks_are_added_and_attributes_kept(graph):
    mod = graph.module(graph.relu(graph.x)).with_attr("espalier.output_names", ["y"])
    first = with_remarks(mod, mod, ["a"])
    second = with_remarks(mod.without_attr("espalier.output_names"), first, ["b"])
    assert remarks_of(mod) == []
    assert remarks_of(second) == ["a", "b"]
    assert list(second.attrs["espalier.output_names"]) == ["y"]
