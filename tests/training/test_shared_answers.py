"""espalier.training.shared_answers: what is shared, and that it changes nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from espalier.core.errors import InvalidInputError  # noqa: E402
from espalier.training.data import Images  # noqa: E402
from espalier.training.loop import Training  # noqa: E402
from espalier.training.networks import NETWORKS  # noqa: E402
from espalier.training.recipe import Recipe  # noqa: E402
from espalier.training.shared_answers import SharedAnswers  # noqa: E402

RECIPE = Recipe("taught", "resnet8", teacher=("resnet20", "teacher.pt"), epochs=2, batch=4, distillation=0.5)


def images(count: int = 10, seed: int = 0) -> Images:
    random = np.random.default_rng(seed)
    return Images(
        random.integers(0, 256, (count, 8, 8, 3), np.uint8), random.integers(0, 10, count), torch.device("cpu")
    )


@pytest.fixture
def here(tmp_path):
    """A folder with a teacher."""
    torch.manual_seed(0)
    torch.save(NETWORKS["resnet20"]().state_dict(), tmp_path / "teacher.pt")
    return tmp_path


def training(here, output: str, train: Images | None = None, **settings) -> SharedAnswers:
    recipe = dataclasses.replace(RECIPE, **settings)
    return SharedAnswers(recipe, train or images(), images(6, seed=1), here, here / output, here / "answers")


def asked(one: Training) -> list:
    """Is filled with the batches that the teacher sees."""
    seen: list = []
    one.teacher.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
    return seen


def test_the_second_training_asks_no_teacher_and_becomes_the_same(here):
    first, second = training(here, "first"), training(here, "second")
    seen = asked(first), asked(second)
    losses = [[epoch.loss for epoch in one.run()] for one in (first, second)]
    assert [len(one) for one in seen] == [4, 0]
    assert losses[0] == losses[1]
    assert all(torch.equal(one, other) for one, other in zip(first.model.parameters(), second.model.parameters()))
    plain = Training(RECIPE, images(), images(6, seed=1), here, here / "plain")
    assert [epoch.loss for epoch in plain.run()] == pytest.approx(losses[0], rel=0.01)


@pytest.mark.parametrize(
    "settings", [{"seed": 1}, {"batch": 5}, {"bfloat16": True}, {"train": images(10, seed=7)}, {"teacher": None}]
)
def test_other_images_and_teachers_are_asked_again(here, settings):
    if "teacher" in settings:
        torch.save(NETWORKS["resnet8"]().state_dict(), here / "other.pt")
        settings = {"teacher": ("resnet8", "other.pt")}
    [*training(here, "first").run()]
    other = training(here, "other", **settings)
    seen = asked(other)
    [*other.run()]
    assert seen


def test_an_epoch_that_was_not_finished_leaves_no_answers(here):
    one = training(here, "one")

    def stop(at) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(one.run(stop))
    assert not (here / "answers").exists()


@pytest.mark.parametrize("content", [b"x", np.zeros((8, 10))])
def test_other_files_are_refused(here, content):
    [*training(here, "one").run()]
    for path in (here / "answers").iterdir():
        path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    with pytest.raises(InvalidInputError, match="cannot be read|accepted is what a training wrote"):
        [*training(here, "two").run()]
