"""`python -m espalier.training`: a whole training in miniature, and errors in one line."""

import os
import subprocess
import sys

import pytest
from cifar10_archive import standard_archive

pytest.importorskip("torch")


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "espalier.training", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def data(tmp_path):
    """The standard archive with 20 images a batch."""
    return standard_archive(tmp_path)


def test_a_recipe_is_one_command_and_can_be_called_again(data, tmp_path):
    arguments = ("resnet8", "--data", data, "--epochs", 1, "--threads", 1, "--output", tmp_path / "out")
    first, second = run(*arguments), run(*arguments)
    assert first.returncode == 0, first.stderr
    assert "epoch 1: density 1, loss " in first.stderr
    assert (tmp_path / "out" / "weights.pt").exists()
    assert second.stderr == "continuing after epoch 1 of 1\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vgg", "--data", "."), "recipe: got 'vgg', accepted are mcifarnet-gated"),
        (("resnet8", "--data", "nowhere"), "none of cifar-10-batches-py/"),
        (("resnet8", "--data", ".", "--epochs", 0), "epochs: got 0"),
        (("mcifarnet-gated", "--data", ".", "--density", 2), "density: got 2.0"),
    ],
)
def test_errors_are_one_line(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("espalier.training: error: ")
    assert done.stderr.count("\n") == 1
