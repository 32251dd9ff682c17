from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from espalier.core.architecture import SPACES, Architecture, layer_stages, work_of  # noqa: E402
from espalier.core.errors import InvalidInputError  # noqa: E402
from espalier.training.data import Images  # noqa: E402
from espalier.training.families import LARGEST, FamilyNetwork  # noqa: E402
from espalier.training.finished import drawn_network, load_finished  # noqa: E402
from espalier.training.loop import WEIGHTS  # noqa: E402
from espalier.training.networks import CifarResNet  # noqa: E402
from espalier.training.recipe import recipe  # noqa: E402
from espalier.training.supernet import extract, logits_of, part_of, recalibrate, rounded, shared_parameters  # noqa: E402
from espalier.training.supernet_start import start_from_resnet  # noqa: E402
from espalier.training.supernet_training import SupernetTraining, drawn_evenly  # noqa: E402

RANDOM = np.random.default_rng(0)
IMAGES = Images(RANDOM.integers(0, 256, (32, 32, 32, 3), np.uint8), np.arange(32) % 10, torch.device("cpu"))
RECIPE = dataclasses.replace(
    recipe("supernet-resnet-cifar"), start=None, narrowed_from=None, distillation=0.5, epochs=2, batch=16
)


def drawn(name: str) -> FamilyNetwork:
    torch.manual_seed(0)
    return LARGEST[f"{name}-largest"]()


@pytest.mark.parametrize("name", SPACES)
def test_layers_are_those_of_the_torch_network(name):
    for architecture in (SPACES[name].largest, SPACES[name].smallest):
        network = FamilyNetwork(architecture)
        weights = [one for one, value in network.named_parameters() if value.ndim in (2, 4)]
        assert [one.removesuffix(".weight") for one in weights] == list(layer_stages(architecture))
        assert network.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", SPACES)
def test_work_is_that_of_the_torch_network(name):
    macs = []

    def count(layer, inputs, output) -> None:
        macs.append(layer.weight.numel() * output.shape[2:].numel())

    for architecture in (SPACES[name].largest, SPACES[name].smallest):
        network, macs[:] = FamilyNetwork(architecture).eval(), []
        layers = [one for one in network.modules() if isinstance(one, (torch.nn.Conv2d, torch.nn.Linear))]
        for layer in layers:
            layer.register_forward_hook(count)
        network(torch.zeros(1, 3, 32, 32))
        assert work_of(architecture) == (sum(macs), sum(one.weight.numel() for one in layers))


@pytest.mark.parametrize("name", SPACES)
def test_small_networks_are_drawn_as_often_as_large_ones(name):
    space, random = SPACES[name], np.random.default_rng(0)
    low, high = (np.log(work_of(one)[0]) for one in (space.smallest, space.largest))
    places = [(np.log(work_of(drawn_evenly(space, random))[0]) - low) / (high - low) for _ in range(400)]
    assert all(0.07 < share < 0.43 for share in np.histogram(places, 4, (0, 1))[0] / 400)


@pytest.mark.parametrize("name", SPACES)
def test_a_part_shares_first_channels_and_the_middle_of_kernels(name):
    largest = drawn(name)
    parts = shared_parameters(largest, FamilyNetwork(SPACES[name].smallest))
    whole = dict(largest.named_parameters())
    for key, part in parts.items():
        assert part.untyped_storage().data_ptr() == whole[key].untyped_storage().data_ptr()
    assert torch.equal(part_of(torch.arange(25).view(1, 1, 5, 5), (1, 1, 3, 3))[0, 0, 1], torch.tensor([11, 12, 13]))


def test_the_largest_part_computes_what_the_largest_network_does():
    largest = drawn("resnet-cifar")
    images = next(IMAGES.plain_batches(8))[0]
    found = logits_of(largest, FamilyNetwork(largest.architecture), images)
    assert torch.equal(found, largest(images))


def test_gradients_reach_the_shared_channels_only():
    largest = drawn("resnet-cifar")
    smallest = FamilyNetwork(SPACES["resnet-cifar"].smallest)
    logits_of(largest, smallest, next(IMAGES.plain_batches(8))[0], "uniform<4>").sum().backward()
    gradient = largest.stem.weight.grad
    assert gradient[:8].abs().sum() > 0
    assert gradient[8:].abs().sum() == 0


def test_rounded_weights_have_few_levels_and_pass_gradients_through():
    weight = torch.randn(4, 8, 3, 3, requires_grad=True)
    found = rounded(weight, 4)
    assert all(len(channel.unique()) <= 15 for channel in found.detach().reshape(4, -1).round(decimals=5))
    found.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))
    assert torch.equal(rounded(torch.zeros(1, 1, 1, 1), 4), torch.zeros(1, 1, 1, 1))


def test_rounding_cuts_off_where_that_costs_least():
    shortcut = torch.eye(16)[:, :, None, None]
    assert torch.allclose(rounded(shortcut, 4), shortcut)
    normal = torch.randn(8, 64, 3, 3)
    errors = [(rounded(normal, bits) - normal).square().mean().sqrt() for bits in (4, 8)]
    whole = [normal.abs().max() / (2**bits - 2) / 3**0.5 for bits in (4, 8)]  # without cutting off
    assert errors[0] < 0.75 * whole[0]
    assert errors[1] < whole[1] < 0.02


def test_an_extracted_network_stands_alone_with_statistics_of_its_own():
    largest = drawn("resnet-cifar")
    network = extract(largest, SPACES["resnet-cifar"].smallest)
    with torch.no_grad():
        largest.stem.weight.zero_()
    recalibrate(network, IMAGES)
    assert not network.training
    x = network.stem(torch.cat([batch for batch, _ in IMAGES.plain_batches(32)]))
    assert torch.allclose(network.norm.running_mean, x.mean((0, 2, 3)), atol=1e-4)
    assert network.norm.momentum == 0.1


def test_start_from_resnet_keeps_its_function():
    torch.manual_seed(0)
    source, images = CifarResNet(32), next(IMAGES.plain_batches(8))[0]
    source(images)  # statistics that are not 0 and 1
    largest = start_from_resnet(drawn("resnet-cifar"), source).eval()
    assert torch.allclose(largest(images), source.eval()(images), atol=1e-4)
    with pytest.raises(InvalidInputError, match="depth, width"):
        start_from_resnet(drawn("resnet-cifar"), CifarResNet(8))


def test_what_is_no_part_is_refused():
    largest = drawn("resnet-cifar")
    for text in (
        "resnet(6x16k3e1s1;1x32k3e1s2;1x64k3e1s2)",
        "resnet(1x16k3e1s1)",
        str(SPACES["mobilenet-cifar"].smallest),
    ):
        with pytest.raises(InvalidInputError, match="accepted are parts"):
            extract(largest, Architecture.parse(text))
    with pytest.raises(InvalidInputError, match="accepted are parts"):
        part_of(torch.zeros(2, 2), (3, 2))
    with pytest.raises(InvalidInputError, match=r"uniform<bits>"):
        shared_parameters(largest, FamilyNetwork(SPACES["resnet-cifar"].smallest), "shift<4>")
    with pytest.raises(InvalidInputError, match="supernet's recipe"):
        dataclasses.replace(RECIPE, pruning=0.5)


def test_training_continues_as_if_it_was_never_stopped(tmp_path):
    def training(folder):
        return SupernetTraining(RECIPE, IMAGES, IMAGES, tmp_path, tmp_path / folder)

    whole = list(training("whole").run())
    next(training("parts").run())
    (rest,) = training("parts").run()
    assert (rest.loss, rest.top1_percent) == (whole[1].loss, whole[1].top1_percent)
    network = load_finished(tmp_path / "parts" / WEIGHTS)
    assert network.architecture == SPACES["resnet-cifar"].largest
    assert not torch.equal(network.stem.weight, drawn_network(RECIPE).stem.weight)


def test_mobilenets_have_a_recipe_of_their_own(tmp_path):
    one = dataclasses.replace(recipe("supernet-mobilenet-cifar"), teacher=(), epochs=1, batch=16)
    (epoch,) = SupernetTraining(one, IMAGES, IMAGES, tmp_path, tmp_path / "out").run()
    assert 0 < epoch.loss < 10
    assert load_finished(tmp_path / "out" / WEIGHTS).architecture == SPACES["mobilenet-cifar"].largest


@pytest.mark.parametrize(("every", "times"), [(1, 2), (2, 1)])
def test_the_largest_network_learns_in_one_of_so_many_steps(tmp_path, every, times):
    training = SupernetTraining(
        dataclasses.replace(RECIPE, largest_every=every, epochs=1), IMAGES, IMAGES, tmp_path, tmp_path / "out"
    )
    calls = []
    training.model.register_forward_hook(lambda module, *_: calls.append(module.training))
    (epoch,) = training.run()
    assert sum(calls) == times
    assert 0 < epoch.loss < 10


def test_who_learns_seldom_needs_a_teacher():
    with pytest.raises(InvalidInputError, match="largest_every: got 2 and no teacher"):
        dataclasses.replace(RECIPE, largest_every=2, distillation=0.0)
