from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402

import espalier  # noqa: E402
from espalier.core.architecture import SPACES, Architecture  # noqa: E402
from espalier.core.plan import Plan  # noqa: E402
from espalier.frontend.torch import from_torch  # noqa: E402
from espalier.training.families import FamilyNetwork  # noqa: E402
from espalier.training.finished import EXAMPLE  # noqa: E402
from espalier.tuning.nas.supernet_networks import traced  # noqa: E402
from espalier.tuning.network_work import network_work  # noqa: E402


@pytest.mark.parametrize("text", ["resnet(2x8k1e1s1;1x16k3e0.5s2)", str(SPACES["mobilenet-cifar"].smallest)])
def test_a_traced_network_is_what_the_importer_gives(text):
    torch.manual_seed(0)
    network = FamilyNetwork(Architecture.parse(text)).eval()
    x = torch.randn_like(EXAMPLE)
    got, expected = traced(network), from_torch(network, x)
    assert network_work(got, "llvm", Plan()).to_dict() == network_work(expected, "llvm", Plan()).to_dict()
    np.testing.assert_allclose(espalier.build(got)(x.numpy()), network(x).detach().numpy(), rtol=1e-3, atol=1e-4)
