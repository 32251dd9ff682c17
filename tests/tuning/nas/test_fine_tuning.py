"""Fronts whose networks are trained further, in miniature: a supernet that was never trained, and 100 images."""

from __future__ import annotations

import contextlib

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("optuna")

from cifar10_archive import standard_archive  # noqa: E402
from command_line import assert_refused, json_of  # noqa: E402
from supernets import untrained_supernet  # noqa: E402

from espalier.core.architecture import architecture_space, layer_stages  # noqa: E402
from espalier.core.errors import InvalidInputError  # noqa: E402
from espalier.core.files import claimed  # noqa: E402
from espalier.core.plan import Plan  # noqa: E402
from espalier.training.supernet import extract  # noqa: E402
from espalier.tuning.nas.fine_tuning import CLAIM, FineTuning  # noqa: E402
from espalier.tuning.nas.supernet_networks import Split, SupernetNetworks  # noqa: E402

SPACE = architecture_space("resnet-cifar")
SMALLEST = SPACE.smallest
ONE_NETWORK = "architectures = resnet-cifar\n" + "".join(
    f"{name} = {values[0]}\n" for name, values in SPACE.choices.dimensions.items()
)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with CIFAR-10 in miniature, weights of a supernet, and the file of a space of one network."""
    folder = tmp_path_factory.mktemp("fine-tuning")
    standard_archive(folder)
    untrained_supernet(folder / "supernet.pt")
    formats = "".join(f"stage{number}.weights = uniform<8>\n" for number in (1, 2, 3))
    (folder / "one.txt").write_text(ONE_NETWORK + formats)
    return folder


def tuning(here, folder, **settings) -> FineTuning:
    return FineTuning(**{"epochs": 1, "data": here, "supernet": here / "supernet.pt", "folder": folder, **settings})


def test_the_front_is_trained_once_built_and_judged(here, monkeypatch):
    trained, train = [], FineTuning._trained
    monkeypatch.setattr(FineTuning, "_trained", lambda *one: trained.append(one[1]) or train(*one))
    words = ("--space", here / "one.txt", "--supernet", here / "supernet.pt", "--data", here, "--fine-tune", 1)
    found = json_of("search", *words, "--objectives", "accuracy,size", "--budget", "1trials", "-o", here / "st")
    (one,) = found["studies"][0]["front"]
    how = one["measured"]["accuracy"]["how"]
    assert how.endswith(
        "that the search has not seen, 1 epochs of fine-tuning, taught by the supernet's largest network"
    )
    place = here / "st" / "trained" / "1 epochs by the supernet"
    assert (place / str(SMALLEST) / "weights.pt").is_file()
    assert trained == [SMALLEST]


def test_another_number_of_epochs_is_another_training(here, tmp_path):
    first, second = tuning(here, tmp_path), tuning(here, tmp_path, epochs=2)
    told: list[str] = []
    for one in (first, second, first):
        one.trained(SMALLEST, Plan(), told.append)
    assert told == [f"{SMALLEST}: epoch {at}" for at in ("1 of 1", "1 of 2", "2 of 2")]
    assert len(list((tmp_path / "answers").iterdir())) == 2


def test_a_network_begins_with_its_part_of_the_supernet_and_goes_on_from_its_checkpoint(here, tmp_path):
    told: list[str] = []
    network, is_quantized = tuning(here, tmp_path).trained(SMALLEST, Plan(), told.append)
    networks = SupernetNetworks(SPACE, here / "supernet.pt", Split.of(here))
    start = extract(networks.largest, SMALLEST)
    assert not is_quantized
    assert told == [f"{SMALLEST}: epoch 1 of 1"]
    assert network.stem.weight.shape == start.stem.weight.shape
    moved = (network.stem.weight - start.stem.weight).norm() / start.stem.weight.norm()
    assert 0 < moved < 0.5
    again, _ = tuning(here, tmp_path).trained(SMALLEST, Plan(), told.append)
    assert len(told) == 1
    assert torch.equal(again.stem.weight, network.stem.weight)


def test_a_network_that_another_process_trains_is_left_to_it(here, tmp_path):
    told: list[str] = []
    with claimed(tuning(here, tmp_path).place / str(SMALLEST) / CLAIM):
        assert tuning(here, tmp_path).trained_unless_another_does(SMALLEST, Plan(), told.append) is None
    assert told == []
    network, has_plan = tuning(here, tmp_path).trained_unless_another_does(SMALLEST, Plan(), told.append)
    assert (network.architecture, has_plan) == (SMALLEST, False)
    assert told == [f"{SMALLEST}: epoch 1 of 1"]
    tuning(here, tmp_path).trained(SMALLEST, Plan(), told.append)
    assert len(told) == 1


def test_a_process_that_waits_for_another_says_so(here, tmp_path):
    told: list[str] = []
    with contextlib.ExitStack() as another:
        another.enter_context(claimed(tuning(here, tmp_path).place / str(SMALLEST) / CLAIM))

        def tell(words):
            told.append(words)
            another.close()

        tuning(here, tmp_path).trained(SMALLEST, Plan(), tell)
    assert told == [f"{SMALLEST}: another process trains it", f"{SMALLEST}: epoch 1 of 1"]


def test_few_bits_are_trained_too(here, tmp_path):
    plan = Plan(layers={name: {"weights": "uniform<4>"} for name in layer_stages(SMALLEST)})
    told: list[str] = []
    network, is_quantized = tuning(here, tmp_path).trained(SMALLEST, plan, told.append)
    assert is_quantized
    assert len(told) == 2
    assert len(network.get_submodule("stem").weight[0].unique()) <= 16


def test_a_network_for_a_gpu_is_trained_once(here, tmp_path):
    """With gates and a format that only GPUs have; it is judged as compiled for the CPU."""
    formats = "stage1.weights = float16\nstage2.weights = uniform<8>\nstage3.weights = float16\n"
    gates = "stage3.density = 0.5\nstage3.granularity = 8\nbatch = 8\n"
    (tmp_path / "gpu.txt").write_text(ONE_NETWORK + formats + gates)
    words = ("--space", tmp_path / "gpu.txt", "--supernet", here / "supernet.pt", "--data", here, "--fine-tune", 1)
    more = ("--target", "nvidia/nvidia-h100", "--objectives", "accuracy,size", "--budget", "1trials")
    (one,) = json_of("search", *words, *more, "-o", tmp_path / "st")["studies"][0]["front"]
    assert one["measured"]["accuracy"]["how"].startswith("compiled for this CPU")
    trained = sorted(path.parent.name for path in (tmp_path / "st" / "trained").glob("*/*/weights.pt"))
    assert len(trained) == 2, trained
    assert trained[0] == str(SMALLEST)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "got 0 epochs"),
        ({"teacher": ("resnet99", "supernet.pt")}, "got 'resnet99'"),
        ({"teacher": ("resnet20", "supernet.pt")}, "another architecture"),
        ({"teacher": ("resnet20", "none.th")}, "cannot be read"),
        ({"data": "none"}, "none"),
    ],
)
def test_what_cannot_be_trained_is_told_before_the_search(here, tmp_path, settings, words):
    if "teacher" in settings:
        name, file = settings["teacher"]
        settings = {"teacher": (name, here / file)}
    if "data" in settings:
        settings = {"data": here / settings["data"]}
    with pytest.raises(InvalidInputError, match=words):
        tuning(here, tmp_path, **settings)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fine-tune", 3), "got no --data"),
        (("--teacher", "resnet56=x.th"), "got no --fine-tune"),
        (("--fine-tune", 3, "--data", ".", "--teacher", "x.th"), "accepted is such as resnet56=resnet56.th"),
    ],
)
def test_bad_arguments_are_one_line(here, tmp_path, arguments, words):
    arguments = [here if one == "." else one for one in arguments]
    words_of = ("search", "--supernet", here / "supernet.pt", *arguments, "-o", tmp_path / "st")
    assert_refused(words_of, words, kept=tmp_path)
