"""Networks that are fine-tuned for a table, in miniature: a supernet that was never trained, and 100 images."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("optuna")

from cifar10_archive import standard_archive  # noqa: E402
from command_line import assert_refused, json_of  # noqa: E402
from supernets import untrained_supernet  # noqa: E402

from espalier.core.architecture import SPACES, ArchitectureSpace, StageSpace, work_of  # noqa: E402
from espalier.core.errors import InvalidInputError  # noqa: E402
from espalier.core.files import claimed  # noqa: E402
from espalier.tuning.nas import sampling  # noqa: E402
from espalier.tuning.nas.evaluators import SupernetAccuracy  # noqa: E402
from espalier.tuning.nas.fine_tuning import FineTuning  # noqa: E402
from espalier.tuning.nas.problem import Value  # noqa: E402
from espalier.tuning.nas.sampling import LOCK, TABLE, Sampling, spread  # noqa: E402
from espalier.tuning.nas.supernet_networks import Split, SupernetNetworks  # noqa: E402
from espalier.tuning.nas.tuned_networks import TunedNetworks  # noqa: E402

SMALL = ArchitectureSpace("small", "resnet", (StageSpace((1,), (8,)), StageSpace((1, 2), (16,), stride=2)))


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with CIFAR-10 in miniature and weights of supernets."""
    folder = tmp_path_factory.mktemp("sampling")
    standard_archive(folder)
    untrained_supernet(folder / "supernet.pt")
    untrained_supernet(folder / "small.pt", str(SMALL.largest))
    return folder


def command(here, folder, count: int) -> tuple:
    words = ("sample-networks", "--data", here, "--supernet", here / "supernet.pt", "-o", folder)
    return (*words, "--networks", count, "--fine-tune", 1)


def small_sampling(here, folder, epochs: int = 1) -> Sampling:
    """Of a space of two networks."""
    networks = SupernetNetworks(SMALL, here / "small.pt", Split.of(here))
    return Sampling(networks, FineTuning(epochs, here, here / "small.pt", folder), folder, "a test")


@pytest.fixture(scope="module")
def trained(here):
    """The table of the small space; its folder is "samples"."""
    return small_sampling(here, here / "samples").run(2, 0, lambda *_: None)


@pytest.fixture
def untrained(monkeypatch):
    """Nothing is trained, and all networks have the same accuracy."""
    monkeypatch.setattr(FineTuning, "accuracy", lambda *_: 0.7)
    monkeypatch.setattr(SupernetAccuracy, "evaluate", lambda *_: {"accuracy": Value(0.4, "made up")})


@pytest.mark.parametrize("name", SPACES)
def test_networks_are_spread_evenly_from_the_smallest_to_the_largest(name):
    space = SPACES[name]
    chosen = spread(space, 16, 0)
    logs = np.log([work_of(one)[0] for one in chosen])
    steps = np.diff(np.sort(logs))
    assert {space.smallest, space.largest} <= set(chosen)
    assert len(set(chosen)) == 16
    assert steps.max() < 3 * (logs.max() - logs.min()) / 15
    few = np.sort(logs[:4])
    assert np.diff(few).max() < 0.45 * (logs.max() - logs.min())
    assert chosen == spread(space, 16, 0)
    assert chosen != spread(space, 16, 1)


def test_networks_are_trained_and_written_to_a_table(here, trained):
    assert trained == TunedNetworks.read(here / "samples" / TABLE)
    assert [one.architecture for one in trained.networks] == [str(SMALL.smallest)] + [str(SMALL.largest)] * 2
    assert trained.training == "1 epochs of fine-tuning, taught by the supernet's largest network"
    assert trained.images == "10 CIFAR-10 test images"
    first, plain, few_bits = (one.weights for one in trained.networks)
    assert first == plain == ("float32", "float32")
    assert set(few_bits) <= set(sampling.FEW_BITS)


def test_a_search_predicts_from_a_table(here, tmp_path, untrained):
    told = json_of(*command(here, tmp_path, 10))
    table = TunedNetworks.read(tmp_path / TABLE)
    assert table.command == "espalier sample-networks --space resnet-cifar --networks 10 --fine-tune 1 --seed 0"
    assert (told["networks"], told["architectures"], table.count) == (15, 10, 10)
    assert told["points"] == pytest.approx(0, abs=1e-6)
    words = ("--supernet", here / "supernet.pt", "--objectives", "accuracy,size", "--no-build", "-o", tmp_path / "st")
    found = json_of("search", *words, "--tuned", tmp_path / TABLE, "--budget", "1trials")
    value = found["studies"][0]["front"][0]["values"]["accuracy"]
    assert value["number"] == pytest.approx(0.7)
    assert value["how"].startswith("by a Gaussian process over 10 fine-tuned networks, deviation ")
    assert value["how"].endswith("points; for 1 epochs of fine-tuning, taught by the supernet's largest network")
    assert_refused(("search", *words, "--budget", "2trials"), "was begun with facts", kept=tmp_path)
    (tmp_path / "finer.txt").write_text("architectures = resnet-cifar\nstage1.0.weights = uniform<8>\n")
    finer = ("search", "--space", tmp_path / "finer.txt", *words[:-1], tmp_path / "finer")
    assert_refused((*finer, "--tuned", tmp_path / TABLE), "settings of blocks and layers, which", kept=tmp_path)


def test_a_table_beside_the_supernet_is_used_and_one_of_another_supernet_refused(here, tmp_path, trained):
    shutil.copy(here / "small.pt", tmp_path)
    shutil.copy(here / "samples" / TABLE, tmp_path / "small.json")
    networks = SupernetNetworks(SMALL, tmp_path / "small.pt", Split.bundled())
    assert networks.tuned == trained
    assert SupernetNetworks(SMALL, tmp_path / "small.pt", Split.bundled(), takes_table=False).tuned is None
    assert SupernetNetworks(SMALL, here / "small.pt", Split.bundled()).tuned is None
    words = ("search", "--supernet", here / "supernet.pt", "-o", tmp_path / "st")
    assert_refused((*words, "--tuned", tmp_path / "small.json"), "began with another supernet", kept=tmp_path)
    assert_refused((*words, "--tuned", tmp_path / "none.json"), "none.json: cannot be read", kept=tmp_path)


def test_networks_of_a_supernet_that_took_anothers_place_are_sampled(here, tmp_path, trained, untrained):
    """As the error of the other's table beside it says."""
    shutil.copy(here / "supernet.pt", tmp_path)
    shutil.copy(here / "samples" / TABLE, tmp_path / "supernet.json")
    words = ("sample-networks", "--data", here, "--supernet", tmp_path / "supernet.pt", "-o", tmp_path / "samples")
    assert json_of(*words, "--networks", 2, "--fine-tune", 1)["architectures"] == 2


def test_what_is_there_is_not_trained_again(here, trained, monkeypatch):
    monkeypatch.setattr(FineTuning, "trained", None)
    assert small_sampling(here, here / "samples").run(2, 0, lambda *_: None) == trained


def test_a_table_of_an_earlier_run_is_gone_on_from(here, tmp_path, trained, monkeypatch):
    shutil.copy(here / "samples" / TABLE, tmp_path)
    monkeypatch.setattr(FineTuning, "trained", None)
    assert small_sampling(here, tmp_path).run(2, 0, lambda *_: None) == trained


def test_what_another_process_trains_is_left_to_it(here, tmp_path, untrained):
    first, second = spread(SMALL, 2, 0)
    with claimed(tmp_path / str(first) / LOCK):
        table = small_sampling(here, tmp_path).run(2, 0, lambda *_: None)
    assert {one.architecture for one in table.networks} == {str(second)}


def test_a_kill_loses_no_network(here, tmp_path, untrained, monkeypatch):
    one, left = small_sampling(here, tmp_path), []

    def accuracy(*_) -> float:
        found = left.pop()
        if isinstance(found, BaseException):
            raise found
        return found

    left[:] = [KeyboardInterrupt(), 0.6, 0.5]
    monkeypatch.setattr(FineTuning, "accuracy", accuracy)
    with pytest.raises(KeyboardInterrupt):
        one.run(2, 0, lambda *_: None)
    assert TunedNetworks.read(tmp_path / TABLE).count == 1
    left[:] = [0.8, 0.7]
    table = one.run(2, 0, lambda *_: None)
    assert sorted(one.accuracy for one in table.networks) == [0.5, 0.7, 0.8]


def test_networks_that_were_trained_otherwise_are_refused(here, trained):
    with pytest.raises(InvalidInputError, match="its training is .1 epochs.*now .2 epochs"):
        small_sampling(here, here / "samples", epochs=2).run(2, 0, lambda *_: None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--networks", 1), "got 1 networks"),
        (("--fine-tune", 0), "got 0 epochs"),
        (("--space", "vgg"), "accepted are resnet-cifar"),
        (("--teacher", "x"), "accepted is such as"),
        (("--supernet", "none.pt"), "none.pt"),
        (("--data", "none"), "none"),
    ],
)
def test_bad_arguments_are_one_line(here, tmp_path, change, words):
    assert_refused((*command(here, tmp_path / "out", 2), *change), words, kept=tmp_path)
