"""espalier.training.start and .reorder: what the network computes stays, and groups are worth what they say."""

import numpy as np
import pytest

from espalier import Plan
from espalier.core.errors import InvalidInputError

torch = pytest.importorskip("torch")

from training_networks import Chain, Mobile, Residual, example, network  # noqa: E402

from espalier.training.data import Images  # noqa: E402
from espalier.training.gates import ChannelGate, gates_of, insert_gates  # noqa: E402
from espalier.training.reorder import reorder_channels  # noqa: E402
from espalier.training.sites import find_sites  # noqa: E402
from espalier.training.start import SPREAD, Evidence, arranged, gather, predict, start_gates  # noqa: E402

RANDOM = np.random.default_rng(0)


def some_images(count: int = 64) -> Images:
    """Noise of different brightness and colour."""
    images = (RANDOM.integers(0, 256, (count, 8, 8, 3)) * RANDOM.random((count, 1, 1, 3))).astype(np.uint8)
    return Images(images, RANDOM.integers(0, 10, count).astype(np.uint8), torch.device("cpu"))


def gated(kind, placement: str = "inner", granularity: int = 4):
    plain, plan = network(kind), Plan(density=0.5, granularity=granularity, placement=placement)
    return plain, insert_gates(plain, plan, example()), find_sites(plain, plan, example())


@pytest.mark.parametrize("kind", [Chain, Residual, Mobile])
def test_reordered_channels_compute_the_same(kind):
    plain, model, found = gated(kind)
    before, x = model(example()), example()
    orders = {
        name: torch.from_numpy(RANDOM.permutation(len(plain.get_submodule(name).weight))) for name in found.readers
    }
    assert orders
    reorder_channels(model, found, orders)
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)
    assert any(not torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters()))


@pytest.mark.parametrize(("kind", "placement"), [(Residual, "inner"), (Residual, "branch"), (Mobile, "inner")])
def test_gates_that_do_not_follow_change_nothing_where_the_norm_takes_their_mean(kind, placement):
    _, model, found = gated(kind, placement)
    before = model(example())
    start_gates(model, found, some_images(), follow=0.0)
    torch.testing.assert_close(model(example()), before, rtol=1e-4, atol=1e-4)
    assert any(len(gate.rho.unique()) > 1 for gate in gates_of(model).values())
    assert all(not gate.phi.any() for gate in gates_of(model).values())


@pytest.mark.parametrize(("kind", "placement"), [(Chain, "inner"), (Residual, "sum")])
def test_elsewhere_channels_are_scaled_by_little_more_than_the_spread(kind, placement):
    """Behind a ReLU6 or a residual add no norm can take the gates' mean."""
    _, model, found = gated(kind, placement)
    start_gates(model, found, some_images(), follow=0.0)
    rho = torch.cat([gate.rho for gate in gates_of(model).values()])
    assert 1 - SPREAD <= rho.min() < 1 < rho.max() < 1 + 4 * SPREAD


@pytest.mark.parametrize("follow", [0.0, 1.0])
def test_a_gate_that_follows_predicts_which_group_is_worth_more(follow):
    """Two groups: the one of input channel 0 is worth all where that channel is large, the other where it is small."""
    gate, large = ChannelGate(2, 8, 4, 0.5), np.arange(600) % 2
    features = np.stack([large + 0.1 * RANDOM.random(600), RANDOM.random(600)], 1).astype(np.float32)
    worth = np.concatenate([np.tile(large[:, None], 4), np.tile(1 - large[:, None], 4)], 1) / 4
    mean = predict(gate, Evidence(features, worth), follow)
    saliency = features @ gate.phi.detach().numpy() + gate.rho.detach().numpy()
    np.testing.assert_allclose(saliency.mean(0), mean, rtol=1e-4)
    assert ((saliency[:, 0] > saliency[:, 4]) == (large == 1)).all() == bool(follow)


def test_worth_is_the_gradient_of_the_loss():
    """A channel that nothing reads is worth nothing."""
    plain, model, found = gated(Chain)
    with torch.no_grad():
        model.get_submodule("conv1").weight[:, 3] = 0
    worth = gather(model, some_images())["conv0"].worth
    assert (worth[:, 3] == 0).all()
    np.testing.assert_allclose(worth.sum(1), 1, rtol=1e-5)


def test_arrangement_finds_channels_that_win_together():
    """Channels of odd and of even number are worth something to alternating images only."""
    worth = np.zeros((50, 8))
    worth[::2, ::2], worth[1::2, 1::2] = 1.0, 0.9
    order = arranged(worth, granularity=4, kept=1)
    assert sorted(order[:4]) in ([0, 2, 4, 6], [1, 3, 5, 7])
    assert sorted(order) == list(range(8))


def test_arrangement_begins_with_the_most_worthy():
    worth = np.tile(np.arange(16.0), (4, 1))
    order = arranged(worth, granularity=4, kept=2)
    assert set(order[:8]) == set(range(8, 16))


def test_some_gates_may_follow_the_input_where_others_do_not():
    _, model, found = gated(Chain)
    start_gates(model, found, some_images(), follow=0.0, following=("conv1",))
    assert {name for name, gate in gates_of(model).items() if gate.phi.any()} == {"conv1"}


def test_a_gate_that_should_follow_but_is_not_there_is_named():
    _, model, found = gated(Chain)
    with pytest.raises(InvalidInputError, match="following: got conv9, accepted are conv0, conv1"):
        start_gates(model, found, some_images(), follow=0.0, following=("conv9",))
