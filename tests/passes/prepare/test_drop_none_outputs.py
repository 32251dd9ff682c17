"""Outputs that hold nothing are left out, with their names; nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.graphs import Graph, assert_unchanged
from tvm import relax

import espalier
from espalier.core import ir_names
from espalier.core.errors import InvalidModelError
from espalier.passes.prepare.drop_none_outputs import DropNoneOutputs

X = np.array([[1, -2, 3]], np.float32)


def returning(*names: str):
    """A network whose outputs are called so: None under "none", else the input or its ReLU."""
    g = Graph(*X.shape)
    values = {"none": relax.op.null_value, "x": lambda: g.x, "relu": lambda: relax.op.nn.relu(g.x)}
    outputs = [g.emit(values[name]()) for name in names]
    return g.module(*outputs).with_attr(ir_names.OUTPUT_NAMES, list(names))


@pytest.mark.parametrize(
    ("names", "left"),
    [(("relu", "none"), ["relu"]), (("none", "relu", "none", "x"), ["relu", "x"]), (("none", "x"), ["x"])],
)
def test_what_is_none_is_left_out(names, left):
    artifact = espalier.build(returning(*names))
    assert [one.name for one in artifact.outputs] == left
    results = artifact(X) if len(left) > 1 else [artifact(X)]
    for name, result in zip(left, results, strict=True):
        np.testing.assert_array_equal(result, {"x": X, "relu": np.maximum(X, 0)}[name])


@pytest.mark.parametrize("names", [("relu",), ("relu", "x")])
def test_other_outputs_stay(names):
    mod = returning(*names)
    assert_unchanged(DropNoneOutputs()(mod), mod)


@pytest.mark.parametrize("names", [("none",), ("none", "none")])
def test_nothing_but_none_is_refused(names):
    with pytest.raises(InvalidModelError, match="all of its outputs are None"):
        espalier.build(returning(*names))
