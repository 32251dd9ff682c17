"""espalier.training.networks: every network by its name, and the narrower ones."""

import pytest

torch = pytest.importorskip("torch")

from espalier.training.networks import NETWORKS, WIDTHS, MCifarNet, narrowed  # noqa: E402


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_classifies(name):
    with torch.no_grad():
        assert NETWORKS[name]().eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(64, 1.0, 64), (64, 0.5, 32), (192, 0.75, 144), (128, 0.62, 80), (64, 0.62, 32), (64, 0.01, 16)],
)
def test_channels_are_whole_vectors(channels, width, expected):
    assert narrowed(channels, width) == expected


def test_a_narrower_network_has_its_layers():
    full, half = MCifarNet(), NETWORKS["mcifarnet-w50"]()
    assert full.state_dict().keys() == half.state_dict().keys()
    assert [half.get_submodule(f"conv{i}").out_channels for i in range(8)] == [32, 32, 64, 64, 64, 96, 96, 96]
    assert [f"mcifarnet-w{percent}" in NETWORKS for percent in WIDTHS] == [True] * 3
