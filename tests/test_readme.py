"""What the README shows runs, in miniature: its Python, its Relay script and its commands."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import call
from models import plain_net

import espalier
from espalier.tuning.latency_predictor import LEAST_NETWORKS

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line for language, text in BLOCKS if not language for line in text.splitlines() if line.startswith("espalier ")
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a model and inputs under the README's names."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    inputs = random.standard_normal((16, 3, 8, 8)).astype(np.float32)
    onnx.save(plain_net(), "model.onnx")
    np.savez("inputs.npz", x=inputs)
    np.save("x.npy", inputs[:1])
    return inputs


def test_there_is_something_to_run():
    assert len(PYTHON) == 4
    assert len(COMMANDS) == 16


def test_python(here):
    names = {"inputs": here, "x": here[:1]}
    exec(PYTHON[0], names)
    assert names["y"].shape == names["artifact"](here[:1]).shape


def test_relay_and_flags(here):
    script = "\n".join(PYTHON[1:3]).replace("(1, 3, 224, 224)", "(1, 3, 8, 8)")
    names = {"model": plain_net(), "x": here[:1], "espalier": espalier}
    exec(script, names)
    assert names["y"].numpy().shape[0] == 1
    assert any(layer.active_channels < layer.channels for layer in names["lib"].artifact.layers)


def test_latency_before_compiling(here, capsys):
    pairs = [(espalier.from_onnx("model.onnx"), espalier.Plan())] * LEAST_NETWORKS
    exec(PYTHON[3], {"espalier": espalier, "pairs": pairs, "x": here[:1]})
    assert "PredictedLatency(seconds=" in capsys.readouterr().out


def test_commands(here):
    for command in COMMANDS:
        shorter = command.replace("onnxruntime,openvino,torch", "onnxruntime").replace("60s", "4trials")
        shorter = shorter.replace("10m", "1trials").replace(">=90%", ">=0%")
        arguments = shlex.split(shorter)[1:]
        result = call(*arguments)
        assert result.exit_code == 0, (command, result.output)


def test_every_figure_names_a_record_that_exists():
    records = set(re.findall(r"`(?:benchmarks/records/)?(\w+\.json)`", README))
    folder = Path(__file__).parents[1] / "benchmarks" / "records"
    assert records
    assert not {name for name in records if not (folder / name).is_file()}


def test_plan_example_loads():
    (text,) = [text for language, text in BLOCKS if language == "json"]
    assert espalier.Plan.from_dict(json.loads(text)).layer("layer4.1.conv2").granularity == 8
