"""Which layers round what, and that nothing else changes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from oracles.graphs import Graph, assert_unchanged, layers, pruned, specs
from oracles.networks import concatenating, plain, residual, unusual
from tvm import relax

from espalier.build import prepare
from espalier.core.plan import Plan
from espalier.ir.dataflow import argument, constant
from espalier.passes.quantize.round_to_short_float import RoundToShortFloat, rounded_to_bfloat16

ROUNDED = Plan(weights="bfloat16", activations="bfloat16")
FLOAT = {"weights": "float32", "activations": "float32"}


def except_for(*names: str) -> Plan:
    """Everything in bfloat16 but these layers."""
    return Plan(weights="bfloat16", activations="bfloat16", layers=dict.fromkeys(names, FLOAT))


def rounding(mod, plan=ROUNDED) -> set[str]:
    """Names of the layers whose output is rounded."""
    after = specs(RoundToShortFloat(plan)(mod))
    return {name for name, spec in after.items() if getattr(spec, "out_format", "") == "bfloat16"}


def test_a_float32_plan_changes_nothing():
    mod = pruned(residual(), Plan(density=0.5))
    assert_unchanged(RoundToShortFloat(Plan())(mod), mod)


def test_every_layer_has_its_format_and_weights_that_fit_it():
    mod = RoundToShortFloat(except_for("conv1"))(prepare(plain()))
    for name, (_, spec, call) in layers(mod).items():
        weight = constant(argument(spec, call, "weight"))
        is_rounded = np.array_equal(weight, weight.astype(ml_dtypes.bfloat16).astype(np.float32))
        assert is_rounded == (spec.format == "bfloat16") == (name != "conv1")


def test_outputs_are_rounded_where_every_reader_rounds():
    """Not the last before the mean; through a pool, and into a residual add, yes."""
    assert rounding(prepare(plain())) == {"conv0", "conv1"}
    assert rounding(prepare(residual())) == {
        *("stem", "block1.conv1", "block1.conv2", "block2.conv1", "block2.conv2", "block2.shortcut"),
        *("block3.conv1", "block3.conv2"),
    }


def test_a_reader_in_float32_gets_float32():
    assert rounding(prepare(plain()), except_for("conv1")) == set()
    assert rounding(prepare(plain()), except_for("conv0")) == {"conv1"}
    without = rounding(prepare(residual()), except_for("block1.conv2"))
    assert "stem" not in without  # it is the residual of a layer in float32
    assert "block2.conv1" in without


def test_readers_that_compute_new_values_get_float32():
    """A concatenation that is averaged; a sigmoid and a leaky relu."""
    assert rounding(prepare(concatenating())) == {"stem"}
    assert rounding(prepare(unusual())) == set()


def test_a_concatenation_of_rounded_parts():
    g = Graph(1, 3, 8, 8)
    parts = [g.relu(g.conv(g.x, name, 16)) for name in ("left", "right")]
    both = g.emit(relax.op.concat(parts, axis=1))
    assert rounding(prepare(g.module(g.head(g.conv(both, "joined", 16))))) == {"left", "right"}


def test_what_main_returns_is_float32():
    g = Graph(1, 3, 8, 8)
    y = g.relu(g.conv(g.x, "conv0", 16))
    assert rounding(prepare(g.module(y, g.conv(y, "conv1", 16)))) == set()


def test_a_gate_reads_what_its_layer_reads():
    mod = pruned(plain(), Plan(density=0.5))
    assert rounding(mod) == {"conv0", "conv1"}
    assert specs(RoundToShortFloat(ROUNDED)(mod))["conv1.gate"] == specs(mod)["conv1.gate"]


@given(arrays.arrays(np.float32, 16, elements=st.floats(width=32, allow_nan=False)))
def test_rounding_is_to_the_nearest_and_only_once(x):
    once = rounded_to_bfloat16(x)
    np.testing.assert_array_equal(once, x.astype(ml_dtypes.bfloat16).astype(np.float32))
    np.testing.assert_array_equal(rounded_to_bfloat16(once), once)
