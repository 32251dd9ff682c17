"""espalier.training.pruning: a threshold with two edges, and zeros that can come back."""

import pytest

torch = pytest.importorskip("torch")

from espalier.training.plain_layers import with_plain_layers  # noqa: E402
from espalier.training.pruning import WeightMask, insert_masks, update_masks  # noqa: E402


def test_the_threshold_has_two_edges():
    weight = torch.tensor([0.0, 0.85, 1.0, 1.05, 1.15, -1.15, 1.95])  # mean magnitude 1.0214...
    mask = WeightMask(weight)
    mask.update(weight, 0.0)
    assert mask.kept.tolist() == [False, False, True, True, True, True, True]
    mask.kept[2:5] = False
    mask.update(weight, 0.0)  # 1.1 t is 1.12
    assert mask.kept.tolist() == [False, False, False, False, True, True, True]
    spread = weight.abs().std(correction=0)
    mask.update(weight, float((1.7 - 1.0214) / spread))
    assert mask.kept.tolist() == [False] * 6 + [True]


def test_zeros_have_a_gradient():
    weight = torch.tensor([0.1, -2.0, 3.0], requires_grad=True)
    mask = WeightMask(weight)
    mask.update(weight.detach(), 0.0)
    got = mask(weight)
    assert got.tolist() == [0, -2, 3]
    (got * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert weight.grad.tolist() == [1, 2, 3]


def test_a_network_is_pruned_and_its_plain_copy_computes_the_same():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 16, 5))
    dense, x = {name: one.clone() for name, one in network.state_dict().items()}, torch.randn(2, 3, 6, 6)
    insert_masks(network)
    update_masks(network, 1.0)
    plain = with_plain_layers(network)
    assert plain.state_dict().keys() == dense.keys()
    assert torch.equal(plain(x), network(x))
    for name, weight in plain.state_dict().items():
        zeros = float((weight == 0).float().mean())
        assert 0.5 < zeros < 0.95 if name.endswith("weight") else zeros == 0
        assert torch.equal(weight, torch.where(weight == 0, 0.0, dense[name]))
    assert torch.equal(network(x), plain(x))  # what was copied still has its masks
