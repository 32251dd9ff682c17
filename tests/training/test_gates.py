"""espalier.training.gates: the gate's meaning, where it is put, densities, and every bad network or plan."""

import copy

import numpy as np
import pytest
from oracles import nn as oracle

from espalier import Plan
from espalier.core.errors import InvalidInputError, InvalidModelError, InvalidPlanError

torch = pytest.importorskip("torch")

from training_networks import Chain, Mobile, Residual, draw_gates, example, network  # noqa: E402

from espalier.training.gates import (  # noqa: E402
    ChannelGate,
    gates_of,
    insert_gates,
    mean_saliency,
    set_density,
)


@pytest.mark.parametrize(("granularity", "kept"), [(1, 5), (1, 16), (4, 1), (4, 3), (8, 2)])
def test_a_gate_means_what_the_operator_means(granularity, kept):
    gate = ChannelGate(6, 16, granularity, 0.5)
    gate.kept = kept
    with torch.no_grad():
        gate.phi.normal_(generator=torch.Generator().manual_seed(0))
    x = torch.randn(3, 6, 5, 7, generator=torch.Generator().manual_seed(1))
    pi, mask = gate(x)
    expected, winners = oracle.channel_gate(
        x.numpy(), gate.phi.detach().numpy(), gate.rho.detach().numpy(), "boost", granularity, kept
    )
    np.testing.assert_allclose(pi.detach(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(mask, oracle.listed_channels(winners, granularity, 16))


def test_ties_go_to_the_lowest_group():
    gate = ChannelGate(3, 64, 4, 0.5)
    gate.kept = 3
    assert gate(torch.rand(2, 3, 4, 4))[1].nonzero()[:, 1].tolist() == [*range(12)] * 2


def test_gradients_flow_to_winners_only():
    gate = ChannelGate(3, 8, 4, 0.5)
    gate.kept = 1
    gate(torch.rand(2, 3, 4, 4))[0].sum().backward()
    assert (gate.rho.grad[:4] == 2).all()
    assert (gate.rho.grad[4:] == 0).all()
    assert (gate.phi.grad[:, :4] > 0).all()


@pytest.mark.parametrize("kind", [Chain, Residual, Mobile])
@pytest.mark.parametrize("placement", ["inner", "branch", "sum"])
def test_a_fresh_gated_network_is_the_pretrained_one(kind, placement):
    plain, x = network(kind), example()
    gated = insert_gates(plain, Plan(density=0.5, placement=placement), x)
    assert torch.equal(gated(x), plain(x))
    assert set(plain.state_dict()) <= set(gated.state_dict())


def test_the_given_network_is_left_alone():
    plain = network(Chain)
    before = copy.deepcopy(plain.state_dict())
    gated = insert_gates(plain, Plan(density=0.5), example())
    with torch.no_grad():
        gated.conv0.weight.zero_()
    assert all(torch.equal(one, before[name]) for name, one in plain.state_dict().items())


def test_placements_gate_what_the_compiler_gates():
    inserted = {
        placement: list(gates_of(insert_gates(network(Residual), Plan(density=0.5, placement=placement), example())))
        for placement in ("inner", "branch", "sum")
    }
    assert inserted["inner"] == ["block1.conv1", "block2.conv1"]
    assert "block1.conv2" in inserted["branch"]
    assert "block2.shortcut" in inserted["branch"]
    assert "block1.conv2" in inserted["sum"]
    assert "block2.shortcut" not in inserted["sum"]


def test_density_falls_to_the_plan_and_not_below():
    plan = Plan(density=0.5, granularity=4, layers={"conv1": {"density": 0.75}, "conv2": {"density": 1.0}})
    gated = insert_gates(network(Chain), plan, example())
    gates = gates_of(gated)
    assert list(gates) == ["conv0", "conv1"]
    kept = []
    for density in (1.0, 0.75, 0.25):
        set_density(gated, density)
        kept.append([gate.kept for gate in gates.values()])
    assert kept == [[4, 4], [3, 3], [2, 3]]


@pytest.mark.parametrize("density", [0, 1.5, float("nan")])
def test_an_impossible_density(density):
    with pytest.raises(InvalidInputError, match="accepted is a number in"):
        set_density(insert_gates(network(Chain), Plan(density=0.5), example()), density)


def test_saliencies_are_summed_for_the_penalty():
    gated = insert_gates(network(Chain), Plan(density=0.5), example()).train()
    gated(example(4))
    assert mean_saliency(gated).item() == 3 * 16  # every saliency of the three gates is 1 at first


def test_other_inputs_use_other_channels():
    gated = draw_gates(insert_gates(network(Chain), Plan(density=0.5, granularity=1), example()))
    set_density(gated, 0.5)
    loudness = torch.tensor([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]])[:, :, None, None]
    mask = gates_of(gated)["conv0"](example(3) * loudness)[1]
    assert (mask.sum(1) == 8).all()
    assert len({tuple(row.tolist()) for row in mask}) > 1


def test_a_plan_that_gates_nothing():
    with pytest.raises(InvalidPlanError, match="it gates no layer of this network"):
        insert_gates(network(Chain), Plan(), example())


def test_a_network_without_a_prunable_layer():
    with pytest.raises(InvalidPlanError, match="gates no layer .*only convolutions are gated"):
        insert_gates(torch.nn.Sequential(torch.nn.Linear(8, 4)), Plan(density=0.5), torch.zeros(1, 8))


def test_a_plan_with_an_unknown_layer():
    with pytest.raises(InvalidPlanError, match="no layer is called 'conv9'"):
        insert_gates(network(Chain), Plan(layers={"conv9": {"density": 0.5}}), example())


def test_a_network_without_gates():
    with pytest.raises(InvalidModelError, match="has no channel gates"):
        set_density(network(Chain), 0.5)


class Twice(Chain):
    def forward(self, x):
        x = torch.relu(self.conv1(torch.relu(self.conv0(x))))
        return self.linear(torch.relu(self.conv1(x)).mean((2, 3)))


class Branching(Chain):
    def forward(self, x):
        y = self.conv0(x)
        return super().forward(x) if float(y.sum()) > 0 else super().forward(-x)


def test_a_layer_that_is_called_twice():
    with pytest.raises(InvalidModelError, match="'conv1': its nn.Conv2d or nn.Linear is called 2 times"):
        insert_gates(network(Twice), Plan(layers={"conv1": {"density": 0.5}}), example())


def test_a_network_that_cannot_be_traced():
    with pytest.raises(InvalidModelError, match="cannot trace"):
        insert_gates(network(Branching), Plan(density=0.5), example())
