"""espalier.training.checkpoint: files that are read back, and files that are not."""

import pytest

from espalier.core.errors import InvalidInputError

torch = pytest.importorskip("torch")

from training_networks import Chain, Residual, network  # noqa: E402

from espalier.training import checkpoint  # noqa: E402
from espalier.training.stored import stored_state  # noqa: E402


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epochs": 3}])
def test_weights_in_the_usual_forms(tmp_path, wrap):
    source = network(Chain, seed=1)
    state = {f"module.{name}": value for name, value in source.state_dict().items()}
    torch.save(wrap(state), tmp_path / "w.pt")
    loaded = checkpoint.load_weights(network(Chain), tmp_path / "w.pt")
    assert all(torch.equal(one, loaded.state_dict()[name]) for name, one in source.state_dict().items())


def test_weights_are_stored_in_half_precision(tmp_path):
    source = network(Chain)
    checkpoint.save_weights(tmp_path / "w.pt", stored_state(source), {"epochs": 2})
    state, facts = checkpoint.read_weights(tmp_path / "w.pt")
    assert facts == {"epochs": 2}
    assert state["conv1.weight"].dtype == torch.float16
    loaded = checkpoint.load_weights(network(Chain, seed=1), tmp_path / "w.pt")
    assert loaded.conv1.weight.dtype == torch.float32
    torch.testing.assert_close(loaded.conv1.weight, source.conv1.weight, rtol=1e-3, atol=1e-6)


def test_weights_that_are_too_large(tmp_path):
    with pytest.raises(InvalidInputError, match="bytes of weights, accepted are 10000000"):
        checkpoint.save_weights(tmp_path / "w.pt", {"weight": torch.zeros(3000, 2000)}, {})
    assert not (tmp_path / "w.pt").exists()


def test_another_architecture(tmp_path):
    torch.save(network(Residual).state_dict(), tmp_path / "w.pt")
    with pytest.raises(InvalidInputError, match="of another architecture"):
        checkpoint.load_weights(network(Chain), tmp_path / "w.pt")


def test_another_size(tmp_path):
    torch.save(Chain(8).state_dict(), tmp_path / "w.pt")
    with pytest.raises(InvalidInputError, match=r"another architecture, bn0.bias is \[8\], accepted is \[16\]"):
        checkpoint.load_weights(network(Chain), tmp_path / "w.pt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
@pytest.mark.parametrize("load", [checkpoint.load_checkpoint, checkpoint.read_weights])
def test_something_else(tmp_path, content, load):
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(InvalidInputError, match="truncated or no checkpoint"):
        load(tmp_path / "c.pt")


@pytest.mark.parametrize("load", [checkpoint.load_checkpoint, checkpoint.read_weights])
def test_a_file_of_another_kind(tmp_path, load):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "c.pt")
    with pytest.raises(InvalidInputError, match="training of this version"):
        load(tmp_path / "c.pt")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load(tmp_path / "missing.pt")
