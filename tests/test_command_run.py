"""What `espalier run` shows of outputs of every type and shape."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import json_of, output_of
from oracles.graphs import Graph
from tvm import relax

import espalier
from espalier.commands.run import _describe


def top_of(array) -> list[tuple[int, object]]:
    return [(one["index"], one["value"]) for one in _describe("y", np.asarray(array))["top"]]


@pytest.mark.parametrize("dtype", ["uint8", "uint64", "int8", "int64", "float16", "float32"])
def test_the_largest_come_first_and_of_equal_ones_the_lowest_place(dtype):
    values = np.array([[3, 0, 7, 3, 7, 1, 2]], dtype)
    assert top_of(values) == [(2, 7), (4, 7), (0, 3), (3, 3), (6, 2)]


def test_the_ends_of_the_range_of_a_type():
    assert top_of(np.array([0, 255, 128], np.uint8)) == [(1, 255), (2, 128), (0, 0)]
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    assert top_of(np.array([low, 0, high])) == [(2, high), (1, 0), (0, low)]


def test_truth_values():
    assert top_of([[False, True, False, True]]) == [(1, True), (3, True), (0, False), (2, False)]


def test_what_is_no_number_is_counted_and_not_among_the_largest():
    found = _describe("y", np.array([[np.nan, 1, np.inf, np.nan, -np.inf]], np.float32))
    assert [one["index"] for one in found["top"]] == [2, 1, 4]
    assert found["nan"] == 2


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_empty_outputs(shape):
    assert top_of(np.zeros(shape, np.float32)) == []


def test_single_numbers_and_the_first_sample():
    assert top_of(np.float32(2.5)) == [(0, 2.5)]
    assert top_of([[1, 2], [9, 9]]) == [(1, 2), (0, 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network with an output of several axes, one of truth values, one of places, and an empty one."""
    path = tmp_path_factory.mktemp("run")
    g = Graph(1, 2, 3, 4)
    positive = g.emit(relax.op.greater(g.x, relax.const(0.0)))
    places = g.emit(relax.op.argsort(g.emit(relax.op.reshape(g.x, (1, 24))), axis=1, dtype="int64"))
    empty = g.emit(relax.op.strided_slice(g.x, axes=[1], begin=[0], end=[0]))
    espalier.build(g.module(g.relu(g.x), positive, places, empty)).save(path / "out")
    np.save(path / "x.npy", np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4) - 20)
    return path


def test_outputs_of_every_kind_are_shown(folder):
    text = output_of("run", folder / "out", "--input", folder / "x.npy")
    rows = [" ".join(line.split()) for line in text.splitlines()[3:]]
    assert rows[0].startswith("output0 float32 [1, 2, 3, 4] [1, 2, 3]: 3, [1, 2, 2]: 2, [1, 2, 1]: 1")
    assert any(row.startswith("output1 bool [1, 2, 3, 4] [1, 2, 1]: True, ") for row in rows)
    assert "output2 int64 [1, 24] 23: 23, 22: 22, 21: 21, 20: 20, 19: 19" in rows
    assert "output3 float32 [1, 0, 3, 4] -" in rows
    outputs = json_of("run", folder / "out", "--input", folder / "x.npy")["outputs"]
    assert [one["type"] for one in outputs] == ["float32", "bool", "int64", "float32"]
    assert outputs[0]["top"][0] == {"index": 23, "value": 3.0}
    assert outputs[3]["top"] == []
