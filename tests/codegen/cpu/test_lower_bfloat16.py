"""Whole networks in bfloat16: exactly what their bodies give where sums are exact, on every instruction set."""

from __future__ import annotations

import dataclasses
import platform

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.graphs import Graph, planned, random_calibration
from oracles.networks import NETWORKS, plain
from oracles.running import PAIRS, drawn, needs_pairs, run_stock
from tvm import relax

import espalier
from espalier.build import build
from espalier.codegen.cpu.generate import generate
from espalier.core.calibration import Calibration
from espalier.core.errors import UnsupportedTargetError
from espalier.core.plan import Plan
from espalier.targets import cpu
from espalier.targets.resolve import resolve_target

ROUNDED = Plan(weights="bfloat16", activations="bfloat16")
IS_X86 = platform.machine() in ("x86_64", "AMD64")


class IntegerGraph(Graph):
    """Weights and biases are -1, 0 or 1: float32 sums of integers below 2^24 are exact in every order."""

    def constant(self, *shape: int, low: float = -1, high: float = 1) -> relax.Expr:
        """Small integers of both signs."""
        return relax.const(self.random.choice([-1.0, 0.0, 0.0, 0.0, 1.0], shape).astype("float32"))


def integers(channels: int, batch: int = 2):
    """A strided 7x7 stem with max-pooling, an identity block, a strided 1x1 shortcut; x holds integers below 300."""
    g = IntegerGraph(batch, 3, 17, 16)
    y = g.relu(g.conv(g.x, "stem", channels, 7, strides=2))
    y = g.emit(relax.op.nn.max_pool2d(y, (3, 3), (2, 2), (1, 1)))
    y = g.relu(g.emit(relax.op.add(g.conv(g.relu(g.conv(y, "conv1", channels)), "conv2", channels), y)))
    shortcut = g.conv(y, "shortcut", 2 * channels, 1, strides=2)
    y = g.relu(g.emit(relax.op.add(g.conv(y, "conv3", 2 * channels, strides=2), shortcut)))
    return g.module(g.conv(y, "last", 5, 1))


def integer_input(batch: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(-299, 300, (batch, 3, 17, 16)).astype(np.float32)


@drawn(6)
@given(
    st.sampled_from([8, 17, 32, 48]),
    st.sampled_from([1.0, 0.5]),
    st.sampled_from([1, 8, 16]),
    st.sampled_from(["inner", "branch", "sum"]),
)
def test_lowered_equals_body_exactly(channels, density, granularity, placement):
    granularity = granularity if channels % granularity == 0 else None
    plan = dataclasses.replace(ROUNDED, density=density, granularity=granularity, placement=placement)
    mod, x = planned(integers(channels), plan), integer_input()
    np.testing.assert_array_equal(generate(mod, resolve_target("llvm")).run([x])[0], run_stock(mod, x)[0])


@pytest.mark.skipif(not IS_X86, reason="needs an x86 machine")
@pytest.mark.parametrize("mcpu", ["x86-64", "haswell"])
def test_targets_without_the_instruction_give_the_same(mcpu):
    x, mod = integer_input(), planned(integers(32), ROUNDED)
    artifact = build(integers(32), {"kind": "llvm", "mcpu": mcpu}, ROUNDED)
    np.testing.assert_array_equal(artifact(x), run_stock(mod, x)[0])
    assert artifact.report == (
        "float32 arithmetic on bfloat16 values: the target has no instruction for their products",
    )
    assert artifact.program.isa in ("avx2", "generic")


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_agree_but_for_roundings_near_a_tie(name):
    """A sum in another order may fall on the other side of a tie: one unit in the eighth bit, here and there."""

    @drawn(3)
    @given(st.sampled_from([17, 32]), st.sampled_from([1.0, 0.5]), st.integers(0, 100))
    def holds(channels, density, seed):
        network = NETWORKS[name](channels, 9, 2, seed)
        mod = planned(network, dataclasses.replace(ROUNDED, density=density, placement="branch"))
        x = np.random.default_rng(0).standard_normal(tuple(map(int, mod["main"].params[0].ty.shape)), np.float32)
        for ours, theirs in zip(generate(mod, resolve_target("llvm")).run([x]), run_stock(mod, x), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0.05, atol=0.02 * max(1.0, np.abs(theirs).max()))

    holds()


def test_layers_in_both_formats():
    layers = {"conv1": {"weights": "float32", "activations": "float32"}}
    plan = dataclasses.replace(ROUNDED, layers=layers)
    mod, x = planned(integers(32), plan), integer_input()
    np.testing.assert_array_equal(generate(mod, resolve_target("llvm")).run([x])[0], run_stock(mod, x)[0])


@needs_pairs
def test_lists_that_pairs_cannot_follow_are_remarked():
    plan = dataclasses.replace(ROUNDED, density=0.5, granularity=1)
    report = build(plain(), "llvm", plan, random_calibration(plain(), plan)).report
    assert "conv1: float32 arithmetic on bfloat16 values: granularity 1 is no multiple of 16" in report
    plan = dataclasses.replace(ROUNDED, density=0.5, granularity=16)
    report = build(plain(64), "llvm", plan, random_calibration(plain(64), plan)).report
    assert not [line for line in report if "arithmetic" in line]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved artifact in bfloat16, and what it computed before."""
    folder = tmp_path_factory.mktemp("saved") / "artifact"
    artifact = build(integers(32), "llvm", ROUNDED, Calibration())
    artifact.save(folder)
    return folder, artifact(integer_input())


def test_saved_and_loaded_it_computes_the_same_bits(saved):
    folder, before = saved
    loaded = espalier.load(folder)
    assert loaded.plan == ROUNDED
    np.testing.assert_array_equal(loaded(integer_input()), before)


@needs_pairs
def test_a_loaded_artifact_names_the_instruction_that_is_missing(saved, monkeypatch):
    loaded = espalier.load(saved[0])
    assert loaded.program.isa == PAIRS.bfloat16
    monkeypatch.setattr(cpu, "cpu_features", lambda _target: frozenset({"avx512f", "avx2"}))
    with pytest.raises(UnsupportedTargetError, match="the artifact needs avx512bf16 and this machine .* has none"):
        loaded(integer_input())
