"""Whole quantized networks give what their bodies give, bit for bit."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.integer_networks import gated_network, residual_network
from oracles.running import drawn, run_stock

from espalier.codegen.cpu.generate import generate
from espalier.targets.resolve import resolve_target

IS_X86 = platform.machine() in ("x86_64", "AMD64")


def check(mod, target="llvm") -> None:
    shape = tuple(map(int, mod["main"].params[0].ty.shape))
    x = np.random.default_rng(0).uniform(-1, 4, shape).astype(np.float32)
    ours, expected = generate(mod, resolve_target(target)).run([x])[0], run_stock(mod, x)[0]
    assert len(np.unique(expected)) > 4
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("channels", [8, 17, 32, 48])
def test_residual_networks(channels):
    check(residual_network(channels))


@drawn(8)
@given(
    st.sampled_from([(16, 4), (32, 8), (64, 16), (32, 1)]),
    st.sampled_from(["output", "branch", "listed"]),
    st.booleans(),
)
def test_gated_networks(channels, kind, boosts):
    check(gated_network(*channels, kind, boosts))


@pytest.mark.skipif(not IS_X86, reason="needs an x86 machine")
@pytest.mark.parametrize("mcpu", ["x86-64", "haswell", "skylake-avx512"])
def test_targets_without_vnni_give_the_same(mcpu):
    target = {"kind": "llvm", "mcpu": mcpu}
    check(residual_network(32), target)
    check(gated_network(32, 8, "branch", True), target)
