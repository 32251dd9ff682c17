"""Calls of the command line in this process, and a folder with something to call it on."""

from __future__ import annotations

import json

import numpy as np
import onnx
from models import plain_net
from typer.testing import CliRunner

from espalier.cli import app

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((1, 3, 8, 8)).astype(np.float32)
MANY = RANDOM.standard_normal((16, 3, 8, 8)).astype(np.float32)


def call(*arguments):
    """The result of a command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def output_of(*arguments) -> str:
    """Standard output of a command that succeeds and is silent on standard error."""
    result = call(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert all(len(line) <= 100 for line in result.stdout.splitlines() if "  " in line.strip())
    return result.stdout


def json_of(*arguments) -> dict:
    """The JSON object that a command prints."""
    return json.loads(output_of(*arguments, "--json"))


def assert_refused(arguments, *words, kept):
    """Exit code 2, one line on stderr with these words, no traceback, and `kept` as it was."""
    before = sorted(kept.rglob("*"))
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("espalier: error: ")
    for word in words:
        assert word in line
    assert sorted(kept.rglob("*")) == before


def compiled(tmp_path_factory):
    """A folder with a model, inputs, a calibration, and the model compiled dense and gated."""
    path = tmp_path_factory.mktemp("cli")
    onnx.save(plain_net(), path / "net.onnx")
    np.save(path / "x.npy", X)
    np.save(path / "x16.npy", MANY)
    np.savez(path / "many.npz", x=MANY, labels=np.arange(16) % 10)
    for arguments in (
        ("compile", path / "net.onnx", "-o", path / "dense"),
        ("calibrate", path / "net.onnx", "--inputs", path / "x16.npy", "--density", 0.5, "-o", path / "gates.npz"),
        ("compile", path / "net.onnx", "-o", path / "half", "--density", 0.5, "--calibration", path / "gates.npz"),
    ):
        result = call(*arguments)
        assert result.exit_code == 0, result.stderr
    return path


def saved(folder, array):
    """The path of a file with one array."""
    np.save(folder / "one.npy", array)
    return folder / "one.npy"
