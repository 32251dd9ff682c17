"""espalier.training.narrow: channels that are worth nothing go first, and what cannot become narrower is refused."""

import numpy as np
import pytest

from espalier.core.errors import InvalidInputError

torch = pytest.importorskip("torch")

from training_networks import Chain, Residual, example, network  # noqa: E402

from espalier.training.data import Images  # noqa: E402
from espalier.training.narrow import narrow  # noqa: E402

RANDOM = np.random.default_rng(0)
IMAGES = Images(RANDOM.integers(0, 256, (64, 8, 8, 3), np.uint8), RANDOM.integers(0, 10, 64), torch.device("cpu"))


@torch.no_grad()
def test_a_narrower_network_without_dead_channels_computes_the_same():
    wide = network(Chain)
    dead = torch.from_numpy(RANDOM.permutation(16)[:6])
    for name, (reader, norm) in {"conv0": ("conv1", "bn0"), "conv1": ("conv2", "bn1")}.items():
        wide.get_submodule(norm).weight[dead] = 0
        wide.get_submodule(norm).bias[dead] = 0
        assert wide.get_submodule(reader).weight[:, dead].any(), name
    wide.conv2.weight[dead], wide.conv2.bias[dead] = 0, -100.0  # sigmoid gives 0
    narrower = narrow(wide, Chain(10), IMAGES, example()).eval()
    torch.testing.assert_close(narrower(example()), wide(example()), rtol=1e-4, atol=1e-5)


def test_layers_that_an_add_reads_keep_their_channels():
    with pytest.raises(InvalidInputError, match="layer 'stem': 8 of 16 channels.* no add or concatenation reads"):
        narrow(network(Residual), Residual(8), IMAGES, example())
