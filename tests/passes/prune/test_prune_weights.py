"""Weights go to zero where the plan says so, as many as it says, and nothing else changes."""

from __future__ import annotations

import numpy as np
from oracles.graphs import assert_unchanged, layers, pruned
from oracles.networks import plain, residual

import espalier
from espalier.build import prepare
from espalier.core.layers import ChannelGateSpec
from espalier.core.plan import Plan
from espalier.ir.dataflow import argument, constant
from espalier.passes.prune.prune_weights import PruneWeights


def weights(mod) -> dict[str, np.ndarray]:
    """The weight of each layer."""
    found = layers(mod).items()
    return {
        name: constant(argument(spec, call, "weight"))
        for name, (_, spec, call) in found
        if not isinstance(spec, ChannelGateSpec)
    }


def test_unchanged_by_default():
    mod = prepare(residual())
    assert_unchanged(PruneWeights(Plan())(mod), mod)


def test_the_smallest_become_zero_by_layer():
    before = weights(prepare(plain()))
    first, *others = before
    after = weights(PruneWeights(Plan(sparsity=0.5, layers={first: {"sparsity": 0.0}}))(prepare(plain())))
    np.testing.assert_array_equal(after[first], before[first])
    for name in others:
        kept = after[name] != 0
        assert (~kept).sum() == before[name].size // 2
        np.testing.assert_array_equal(after[name][kept], before[name][kept])
        assert np.abs(before[name][~kept]).max() <= np.abs(before[name][kept]).min()


def test_gated_layers_are_pruned_too():
    for name, weight in weights(pruned(residual(), Plan(density=0.5, sparsity=0.75))).items():
        assert (weight == 0).sum() == weight.size * 3 // 4, name


def test_a_pruned_network_compiles_to_what_its_weights_give():
    """Pruning in the plan is pruning the weights beforehand."""
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32)
    plan = Plan(sparsity=0.5)
    given = espalier.build(PruneWeights(plan)(prepare(plain(batch=2))))(x)
    np.testing.assert_array_equal(espalier.build(plain(batch=2), plan=plan)(x), given)
    assert not np.array_equal(espalier.build(plain(batch=2))(x), given)
