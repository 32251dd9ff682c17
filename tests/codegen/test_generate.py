"""Networks whose stock operators TVM has algorithms of its own for, and networks that it cannot compile."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from oracles.graphs import Graph
from tvm import relax

import espalier
from espalier.codegen.cuda.generate import scheduled
from espalier.core.errors import UnsupportedOpError
from espalier.targets.resolve import resolve_target

X = np.random.default_rng(0).standard_normal((3, 7), np.float32)
ROWS = np.array([[0, 1], [2, 3], [5, 6]])


def sorted_network() -> tvm.IRModule:
    """Every operator that TVM dispatches, some of them twice, behind and before layers named as their kernels are."""
    g = Graph(1, 3, 5, 5)
    y = g.relu(g.conv(g.relu(g.conv(g.x, "topk", 16)), "cumsum", 16))
    flat = g.emit(relax.op.reshape(y, (1, 400)))
    best, second = (g.emit(relax.op.topk(flat, k, axis=1, dtype="int64")) for k in (5, 3))
    sums, again = (g.emit(relax.op.cumsum(flat, axis)) for axis in (1, 1))
    order = g.emit(relax.op.argsort(flat, axis=1, descending=True, dtype="int64"))
    outputs = [g.emit(relax.TupleGetItem(one, place)) for one in (best, second) for place in (0, 1)]
    return g.module(*outputs, sums, g.dense(again, "argsort", 4), order)


@pytest.mark.parametrize("lower", [True, False])
def test_sorting_and_running_sums(lower):
    mod = sorted_network()
    x = np.random.default_rng(1).standard_normal((1, 3, 5, 5)).astype(np.float32)
    top, places, three, their_places, sums, _, order = espalier.build(mod, lower=lower)(x)
    flat = np.diff(sums, prepend=0)
    np.testing.assert_allclose(top[0], np.sort(flat[0])[::-1][:5], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(top[:, :3], three)
    np.testing.assert_array_equal(places[:, :3], their_places)
    np.testing.assert_array_equal(places, order[:, :5])
    assert sorted(order[0]) == list(range(400))


def test_sorting_is_saved_and_loaded(tmp_path):
    x = np.random.default_rng(1).standard_normal((1, 3, 5, 5)).astype(np.float32)
    artifact = espalier.build(sorted_network())
    artifact.save(tmp_path / "out")
    for ours, theirs in zip(espalier.load(tmp_path / "out")(x), artifact(x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_sorting_on_a_gpu_is_bound_to_threads():
    functions = scheduled(sorted_network(), resolve_target("nvidia/nvidia-h100")).functions
    kernels = {gvar.name_hint: one.script() for gvar, one in functions.items() if isinstance(one, tvm.tirx.PrimFunc)}
    found = {name: text for name, text in kernels.items() if name.startswith(("topk", "argsort", "gpu_2d"))}
    assert len(found) >= 4
    assert all("threadIdx.x" in text for text in found.values())


def test_operators_of_one_opaque_block():
    """TVM writes these as one block without loops around it."""
    g = Graph(*X.shape)
    rows, ones = relax.const(ROWS), relax.const(np.ones((3, 2), "float32"))
    scattered = g.emit(relax.op.scatter_elements(g.x, rows, ones, axis=1))
    buckets = g.emit(relax.op.bucketize(g.x, relax.const(np.array([-1, 0, 1], "float32"))))
    artifact = espalier.build(g.module(scattered, buckets))
    expected = X.copy()
    np.put_along_axis(expected, ROWS, 1, axis=1)
    ours = artifact(X)
    np.testing.assert_array_equal(ours[0], expected)
    np.testing.assert_array_equal(ours[1], np.searchsorted([-1, 0, 1], X))


def test_tensors_without_values():
    g = Graph(*X.shape)
    none = g.emit(relax.op.strided_slice(g.x, axes=[1], begin=[0], end=[0]))
    empty, joined = espalier.build(g.module(none, g.emit(relax.op.concat([none, g.x], axis=1))))(X)
    assert empty.shape == (3, 0)
    np.testing.assert_array_equal(joined, X)


def test_what_cannot_be_compiled_names_its_operator():
    g = Graph(1, 3, 8, 8)
    y = g.emit(relax.op.greater(g.relu(g.conv(g.x, "conv0", 16)), relax.const(0.5)))
    y = g.emit(relax.op.multiply(y, y), "product")
    mod = g.module(g.emit(relax.op.reshape(y, (1, 1024))))
    with pytest.raises(UnsupportedOpError) as raised:
        espalier.build(mod)
    message = str(raised.value)
    words = "llvm: product, a call of relax.multiply that gives bool [1, 16, 8, 8], cannot be compiled ("
    assert message.startswith(words)
    assert "\n" not in message
    assert isinstance(raised.value.__cause__, tvm.error.InternalError)
