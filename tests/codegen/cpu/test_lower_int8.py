"""Whole quantized networks give what their bodies give, bit for bit."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from oracles.integer_networks import IntegerNetwork, gated_network, option_a_network, residual_network
from oracles.running import run_stock
from tvm import relax

from espalier.codegen.cpu.generate import generate
from espalier.codegen.cpu.lower import LowerOnCpu
from espalier.core.errors import InvalidModelError
from espalier.core.integer import LayerArithmetic
from espalier.core.layers import DenseSpec
from espalier.ir.dataflow import Dataflow
from espalier.ir.operators import layer_function
from espalier.targets.cpu import cpu_target, isa_of
from espalier.targets.resolve import resolve_target

IS_X86 = platform.machine() in ("x86_64", "AMD64")


def check(mod, target="llvm") -> None:
    shape = tuple(map(int, mod["main"].params[0].ty.shape))
    x = np.random.default_rng(0).uniform(-1, 4, shape).astype(np.float32)
    ours, expected = generate(mod, resolve_target(target)).run([x])[0], run_stock(mod, x)[0]
    assert len(np.unique(expected)) > 4
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("channels", [8, 17, 32])
def test_residual_networks(channels):
    check(residual_network(channels))


@pytest.mark.parametrize("channels", [6, 16])
def test_shortcuts_without_projections(channels):
    mod = option_a_network(channels)
    check(mod)
    lowered = LowerOnCpu(isa_of(resolve_target("llvm")))(mod)
    called = [str(value) for value in Dataflow.of(lowered).values.values()]
    assert not [text for text in called if "R.strided_slice" in text or "R.nn.pad" in text]


@pytest.mark.parametrize(
    ("channels", "granularity", "kind", "boosts"),
    [(16, 4, "output", True), (32, 16, "branch", True), (32, 16, "output", False), (16, 1, "listed", False)],
)
def test_gated_networks(channels, granularity, kind, boosts):
    check(gated_network(channels, granularity, kind, boosts))


def test_what_lists_are_not_followed_is_remarked():
    mod = gated_network(32, 8, "branch", True)
    remarks = generate(mod, cpu_target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "znver4"})).remarks
    assert "conv1: computes all its output channels: granularity 8 is no multiple of 16" in remarks
    assert not [line for line in remarks if "input" in line]


def test_sums_beyond_32_bits_are_refused():
    g = IntegerNetwork(1, 20_000)
    g.random = np.random.default_rng(0)
    x = g.quantize(g.x)
    spec = DenseSpec("wide", ("x", "weight", "scale"), format="int8", integer=LayerArithmetic(0))
    weight, scale = relax.const(np.full((2, 200_000), 127, np.int8)), relax.const(np.ones(2, np.float32))
    wide = g.emit(relax.op.concat([x] * 10, 1))
    mod = g.module(g.operator(layer_function(spec, [wide, weight, scale]), wide, weight, scale))
    with pytest.raises(InvalidModelError, match="layer wide: its sums of products can reach 6477000000, accepted"):
        generate(mod, resolve_target("llvm"))


def test_the_program_says_what_it_needs():
    target = cpu_target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "znver4"})
    assert generate(residual_network(8), target).isa == "avx512vnni+avx512vbmi"


@pytest.mark.skipif(not IS_X86, reason="needs an x86 machine")
@pytest.mark.parametrize("mcpu", ["x86-64", "haswell"])
def test_targets_without_vnni_give_the_same(mcpu):
    check(gated_network(16, 8, "branch", True), {"kind": "llvm", "mcpu": mcpu})
