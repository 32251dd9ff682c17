from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from espalier.core.architecture import SPACES, Architecture  # noqa: E402
from espalier.core.errors import InvalidInputError  # noqa: E402
from espalier.core.plan import Plan  # noqa: E402
from espalier.training.data import Images  # noqa: E402
from espalier.training.families import LARGEST, FamilyNetwork  # noqa: E402
from espalier.training.finished import EXAMPLE, load_finished  # noqa: E402
from espalier.training.gates import gates_of, insert_gates, set_density  # noqa: E402
from espalier.training.loop import WEIGHTS  # noqa: E402
from espalier.training.recipe import recipe  # noqa: E402
from espalier.training.supernet import extract, logits_of  # noqa: E402
from espalier.training.supernet_gates import gate_blocks, share_gates  # noqa: E402
from espalier.training.supernet_training import SupernetTraining  # noqa: E402

SPACE = SPACES["resnet-cifar"]
RANDOM = np.random.default_rng(0)
IMAGES = Images(RANDOM.integers(0, 256, (32, 32, 32, 3), np.uint8), np.arange(32) % 10, torch.device("cpu"))
RECIPE = dataclasses.replace(recipe("supernet-resnet-cifar-gated"), start=None, drawn=1, epochs=2, batch=16)
PART = Architecture.parse("resnet(2x8k3e1s1;1x24k3e0.5s2;2x32k3e1s2)")


def supernet() -> FamilyNetwork:
    """With gates that choose."""
    torch.manual_seed(0)
    largest = LARGEST["resnet-cifar-largest"]()
    gate_blocks(largest)
    for gate in gates_of(largest).values():
        torch.nn.init.normal_(gate.phi)
        torch.nn.init.uniform_(gate.rho)
    return largest


def gated_part(density: float, granularity: int, architecture: Architecture = PART) -> FamilyNetwork:
    network = FamilyNetwork(architecture)
    gate_blocks(network, density, granularity)
    return network


@pytest.mark.parametrize(("density", "granularity"), [(0.5, 4), (0.75, 1), (0.5, 8)])
def test_a_part_computes_with_shared_gates_what_it_does_when_it_is_taken_out(density, granularity):
    largest, images = supernet(), next(IMAGES.plain_batches(16))[0]
    alone = insert_gates(extract(largest, PART), Plan(density=density, granularity=granularity), EXAMPLE)
    share_gates(alone, largest)
    set_density(alone, density)
    found = logits_of(largest, gated_part(density, granularity), images)
    assert torch.allclose(found, alone.train()(images), atol=1e-5)
    assert not torch.allclose(found, logits_of(largest, FamilyNetwork(PART), images), atol=1e-2)


def test_gates_that_keep_all_channels_rest():
    largest, images = supernet(), next(IMAGES.plain_batches(16))[0]
    plain = FamilyNetwork(largest.architecture)
    assert torch.equal(largest(images), logits_of(largest, plain, images))
    for part in (gated_part(1.0, 4), gated_part(0.95, 8)):
        assert torch.equal(logits_of(largest, part, images), logits_of(largest, FamilyNetwork(PART), images))
    largest(images).sum().backward()
    assert all(gate.phi.grad is None for gate in gates_of(largest).values())


def test_gradients_reach_the_gates_of_shared_channels_only():
    largest = supernet()
    logits_of(largest, gated_part(0.5, 4), next(IMAGES.plain_batches(16))[0]).square().sum().backward()
    gate = largest.stage3[1].gate
    assert gate.phi.grad[:32, :32].abs().sum() > 0
    assert gate.rho.grad[:32].abs().sum() > 0
    assert gate.phi.grad[32:].abs().sum() == gate.phi.grad[:, 32:].abs().sum() == gate.rho.grad[32:].abs().sum() == 0
    assert largest.stage1[2].gate.phi.grad is None


def test_gates_are_trained_with_the_supernet_and_come_with_its_weights(tmp_path):
    def training(folder):
        return SupernetTraining(RECIPE, IMAGES, IMAGES, tmp_path, tmp_path / folder)

    begun = {name: gate.rho.detach().clone() for name, gate in gates_of(training("whole").model).items()}
    assert all(0 < (rho - 1).abs().max() < 10 for rho in begun.values())  # as its images say
    whole = list(training("whole").run())
    next(training("parts").run())
    (rest,) = training("parts").run()
    assert (rest.loss, rest.top1_percent) == (whole[1].loss, whole[1].top1_percent)
    network = load_finished(tmp_path / "parts" / WEIGHTS)
    assert network.architecture == SPACE.largest
    gates = gates_of(network)
    assert list(gates) == [f"stage{stage}.{block}.gate" for stage in (1, 2, 3) for block in range(5)]
    assert not torch.equal(gates["stage1.0.gate"].rho, begun["stage1.0.gate"].half().float())
    assert not any("gate" in name for name, _ in extract(network, PART).named_parameters())


def test_a_training_goes_on_from_gates_that_there_are(tmp_path):
    first = dataclasses.replace(RECIPE, epochs=1)
    list(SupernetTraining(first, IMAGES, IMAGES, tmp_path, tmp_path / "first").run())
    again = dataclasses.replace(RECIPE, start=f"first/{WEIGHTS}")
    model = SupernetTraining(again, IMAGES, IMAGES, tmp_path, tmp_path / "again").model
    for name, gate in gates_of(load_finished(tmp_path / "first" / WEIGHTS)).items():
        assert torch.equal(gates_of(model)[name].phi, gate.phi)


def test_a_supernet_gets_gates_of_its_own(tmp_path):
    alone = {"start": None, "distillation": 0.0, "largest_every": 1}
    plain = dataclasses.replace(recipe("supernet-resnet-cifar"), epochs=1, batch=16, **alone)
    list(SupernetTraining(plain, IMAGES, IMAGES, tmp_path, tmp_path / "plain").run())
    gated = dataclasses.replace(RECIPE, start=f"plain/{WEIGHTS}")
    model = SupernetTraining(gated, IMAGES, IMAGES, tmp_path, tmp_path / "gated").model
    images = next(IMAGES.plain_batches(8))[0]
    assert torch.equal(model.eval()(images), load_finished(tmp_path / "plain" / WEIGHTS)(images))


def test_gates_where_there_can_be_none():
    with pytest.raises(InvalidInputError, match="accepted are those of a resnet"):
        gate_blocks(LARGEST["mobilenet-cifar-largest"]())
    for changes in ({"space": None}, {"drawn_densities": (0.0, 1.0)}):
        with pytest.raises(InvalidInputError, match="drawn_densities: got "):
            dataclasses.replace(RECIPE, largest_every=1, **changes)
