"""Fitted weights take the place of the network's own, in the network they were fitted to only."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.graphs import Graph, assert_unchanged, specs
from oracles.networks import plain
from oracles.running import assert_close, run_stock

from espalier.build import prepare
from espalier.core.calibration import Calibration, LayerWeights
from espalier.core.errors import InvalidInputError
from espalier.passes.prune.replace_weights import ReplaceWeights, layer_weights, model_digest

X = np.random.default_rng(0).standard_normal((1, 3, 8, 8), np.float32)


def replaced(mod, weights):
    """The prepared module with other weights."""
    return ReplaceWeights(Calibration(weights=weights, model_digest=model_digest(mod)))(mod)


def test_unchanged_without_weights():
    mod = prepare(plain())
    assert_unchanged(ReplaceWeights(Calibration())(mod), mod)


def test_weights_of_another_network_of_the_same_shapes_make_it_that_network():
    one, other = prepare(plain(seed=1)), prepare(plain(seed=2))
    mixed = replaced(one, layer_weights(other))
    assert model_digest(mixed) == model_digest(other) != model_digest(one)
    assert_close(run_stock(mixed, X)[0], run_stock(other, X)[0])


def test_only_named_layers_change():
    mod = prepare(plain())
    own = layer_weights(mod)
    doubled = LayerWeights(2 * own["fc"].weight, 2 * own["fc"].bias)
    assert_close(run_stock(replaced(mod, {"fc": doubled}), X)[0], 2 * run_stock(mod, X)[0])


def test_a_layer_without_bias_gets_one():
    g = Graph(*X.shape)
    mod = prepare(g.module(g.relu(g.conv(g.x, "conv", 4, bias=False))))
    own = layer_weights(mod)["conv"]
    np.testing.assert_array_equal(own.bias, np.zeros(4))
    after = replaced(mod, {"conv": LayerWeights(own.weight, np.full(4, 100, np.float32))})
    assert specs(after)["conv"].roles == ("x", "weight", "bias")
    assert run_stock(after, X)[0].min() > 50


def test_another_network_is_refused():
    calibration = Calibration(
        weights=layer_weights(prepare(plain(seed=1))), model_digest=model_digest(prepare(plain(seed=1)))
    )
    with pytest.raises(InvalidInputError, match="network with other weights; calibrate again"):
        ReplaceWeights(calibration)(prepare(plain(seed=2)))
