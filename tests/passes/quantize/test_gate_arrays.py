"""Integer gates choose what the real ones choose, and their pi is the real one within a step."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import integers, nn

from espalier.core.errors import InvalidPlanError
from espalier.core.layers import ActiveList, ChannelGateSpec, Conv2dSpec
from espalier.passes.quantize.gate_arrays import boost_of, gate_arrays
from espalier.passes.quantize.scales import Numbers

RANDOM = np.random.default_rng(0)
GATE = ChannelGateSpec("g", "boost", 4, 2)


def layer(*more: str, gate: str = "output") -> Conv2dSpec:
    return Conv2dSpec("g", ("x", "weight", *more, "pi", "winners"), gate=gate, winners=ActiveList(2, 4))


@pytest.mark.parametrize("zero", [0, 100])
def test_as_the_real_gate(zero):
    x = Numbers(0.02, zero, 255)
    phi, rho = RANDOM.normal(0, 0.3, (6, 16)).astype(np.float32), RANDOM.uniform(0, 2, 16).astype(np.float32)
    given = RANDOM.integers(0, 256, (20, 6, 5, 5)).astype(np.uint8)
    real = ((given.astype(np.float64) - zero) * 0.02).astype(np.float32)
    most_mean = float(np.abs(real).mean((2, 3)).max())
    saliency = np.maximum(np.abs(real).mean((2, 3)) @ phi + rho, 0)
    boost = boost_of(GATE, layer(), float(saliency.max()))
    one, phi8, rho32 = gate_arrays(GATE, phi, rho, x, 25, most_mean, boost.scale)
    spec = ChannelGateSpec("g", "boost", 4, 2, integer=one)
    pi, winners = integers.channel_gate(spec, {"x": given, "phi": phi8, "rho": rho32})
    real_pi, real_winners = nn.channel_gate(real, phi, rho, "boost", 4, 2)
    same = (winners == real_winners).all(1)
    assert same.mean() >= 0.8
    assert np.abs(pi * boost.scale - real_pi)[same].max() < 0.03 * saliency.max()


def test_what_pi_does():
    select = ChannelGateSpec("g", "select", 4, 2)
    assert boost_of(select, layer(), 3.0) is None
    assert (boost_of(select, layer(gate="branch"), 3.0).inside, boost_of(GATE, layer(), 0.0).most) == (1.0, 1.0)
    inside = boost_of(GATE, layer(), 3.0)
    assert (inside.scale, inside.multiplier_bits, inside.shift) == (3.0 / 255, 16, None)
    after = boost_of(GATE, layer("residual"), 3.0)
    assert (after.shift, after.scale, after.inside, after.multiplier_bits) == (6, 2.0**-6, 1.0, 24)


def test_saliencies_beyond_int32_are_refused():
    phi, rho = np.ones((6, 16), np.float32), np.full(16, 1e6, np.float32)
    with pytest.raises(InvalidPlanError, match=r"gate of layer 'g': .* below int32's 2\^31"):
        gate_arrays(GATE, phi, rho, Numbers(0.02, 0, 255), 25, 1e-3, 1.0)
