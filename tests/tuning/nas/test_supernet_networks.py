from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from supernets import untrained_supernet  # noqa: E402

import espalier  # noqa: E402
from espalier.core.architecture import SPACES, Architecture, layer_stages  # noqa: E402
from espalier.core.plan import Plan  # noqa: E402
from espalier.frontend import bundled  # noqa: E402
from espalier.frontend.torch import from_torch  # noqa: E402
from espalier.training.families import FamilyNetwork  # noqa: E402
from espalier.training.finished import EXAMPLE  # noqa: E402
from espalier.training.gates import gates_of  # noqa: E402
from espalier.tuning.nas.supernet_networks import Split, SupernetNetworks, traced  # noqa: E402
from espalier.tuning.network_work import network_work  # noqa: E402


@pytest.mark.parametrize("text", ["resnet(2x8k1e1s1;1x16k3e0.5s2)", str(SPACES["mobilenet-cifar"].smallest)])
def test_a_traced_network_is_what_the_importer_gives(text):
    torch.manual_seed(0)
    network = FamilyNetwork(Architecture.parse(text)).eval()
    x = torch.randn_like(EXAMPLE)
    got, expected = traced(network), from_torch(network, x)
    assert network_work(got, "llvm", Plan()).to_dict() == network_work(expected, "llvm", Plan()).to_dict()
    np.testing.assert_allclose(espalier.build(got)(x.numpy()), network(x).detach().numpy(), rtol=1e-3, atol=1e-4)


SMALL = SPACES["resnet-cifar"].smallest


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """Networks of a supernet with gates that choose."""
    path = tmp_path_factory.mktemp("gated") / "supernet.pt"
    untrained_supernet(path, name="supernet-resnet-cifar-gated")
    networks = SupernetNetworks(SPACES["resnet-cifar"], path, Split.bundled())
    torch.manual_seed(0)
    for gate in gates_of(networks.largest).values():
        torch.nn.init.normal_(gate.phi)
        torch.nn.init.uniform_(gate.rho)
    return networks


def plan_of(weights: str, *densities: float) -> Plan:
    """densities: of the stages."""
    return Plan(
        layers={
            name: {"weights": weights, "granularity": 4, "density": densities[stage - 1]}
            for name, stage in layer_stages(SMALL).items()
        }
    )


@pytest.mark.parametrize(("weights", "batch", "off"), [("float32", 2, 1e-4), ("uniform<8>", 1, 0.15)])
def test_a_network_with_densities_takes_the_supernets_gates(gated, weights, batch, off):
    plan = plan_of(weights, 1.0, 0.5, 0.5)
    mod, calibration = gated.calibrated(SMALL, plan, batch)
    assert list(calibration.gates) == ["stage2.0.conv1", "stage3.0.conv1"]
    for name, gate in calibration.gates.items():
        shared = gated.largest.get_submodule(name.replace("conv1", "gate"))
        assert gate.mode == "boost"
        np.testing.assert_array_equal(gate.phi, shared.phi.detach()[tuple(map(slice, gate.phi.shape))])
    images = bundled.normalise(gated.split.search[0][:batch])
    expected = gated._gated(gated.network(SMALL), plan)(torch.from_numpy(images)).detach().numpy()
    found = espalier.build(mod, "llvm", plan, calibration)(images)
    assert np.abs(found - expected).max() < off * np.abs(expected).max()
    dense = gated.network(SMALL)(torch.from_numpy(images)).detach().numpy()
    assert np.abs(dense - expected).max() > 2 * off * np.abs(expected).max()


def test_a_plan_that_gates_nothing_needs_no_gates(gated):
    for plan in (plan_of("uniform<8>", 1.0, 1.0, 1.0), plan_of("uniform<8>", 0.75, 1.0, 1.0)):
        assert gated.calibrated(SMALL, plan)[1].gates == {}
