"""espalier.training.pruning: one share for a network, layers that keep what they need, zeros that can come back."""

import pytest

torch = pytest.importorskip("torch")

from espalier.training.plain_layers import with_plain_layers  # noqa: E402
from espalier.training.pruning import WeightMask, insert_masks, lamp_scores, update_masks  # noqa: E402


@pytest.fixture
def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 16, 5))


def zeros_of(network) -> list[int]:
    return [int((network[place].weight == 0).sum()) for place in (0, 2)]


def pruned_layer():
    """(layer, weight): a third of its weights is 0; the weight is the latent one."""
    layer = torch.nn.Linear(3, 1, bias=False)
    weight = layer.weight
    with torch.no_grad():
        weight.copy_(torch.tensor([[0.1, -2.0, 3.0]]))
    insert_masks(layer)
    update_masks(layer, 0.4)
    return layer, weight


def test_scores_by_hand():
    weight = torch.tensor([[1.0, -3.0], [0.0, 2.0]])
    assert lamp_scores(weight).tolist() == [[1 / 14, 1.0], [0.0, pytest.approx(4 / 13)]]
    assert lamp_scores(torch.zeros(3)).tolist() == [0, 0, 0]


def test_the_share_is_of_the_whole_network_whatever_the_scale_of_a_layer(network):
    insert_masks(network)
    update_masks(network, 0.8)
    before = zeros_of(network)
    assert sum(before) == int(0.8 * (216 + 640))
    assert before[0] / 216 < before[1] / 640  # the smaller layer keeps more
    with torch.no_grad():
        network[2].parametrizations.weight.original.mul_(2**-10)
    update_masks(network, 0.8)
    assert zeros_of(network) == before
    update_masks(network, 0.99)
    assert all(zeros < network[place].weight.numel() for zeros, place in zip(zeros_of(network), (0, 2)))


def test_zeros_have_no_gradient_and_come_back_when_others_are_smaller():
    layer, weight = pruned_layer()
    assert layer.weight.tolist() == [[0, -2, 3]]
    (layer.weight * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert weight.grad.tolist() == [[0, 2, 3]]
    update_masks(layer, 0.4)
    assert layer.weight.tolist() == [[0, -2, 3]]
    with torch.no_grad():
        weight[0, 1] = 0.05
    update_masks(layer, 0.4)
    assert layer.weight.tolist() == [[pytest.approx(0.1), 0, 3]]


def test_masks_are_parametrizations_that_begin_whole():
    weight = torch.tensor([1.0, 0.0])
    assert WeightMask(weight).kept.all()


def test_a_network_is_pruned_and_its_plain_copy_computes_the_same(network):
    dense, x = {name: one.clone() for name, one in network.state_dict().items()}, torch.randn(2, 3, 6, 6)
    insert_masks(network)
    update_masks(network, 0.8)
    plain = with_plain_layers(network)
    assert plain.state_dict().keys() == dense.keys()
    assert torch.equal(plain(x), network(x))
    for name, weight in plain.state_dict().items():
        zeros = float((weight == 0).float().mean())
        assert 0.5 < zeros < 0.95 if name.endswith("weight") else zeros == 0
        assert torch.equal(weight, torch.where(weight == 0, 0.0, dense[name]))
    assert torch.equal(network(x), plain(x))  # what was copied still has its masks
