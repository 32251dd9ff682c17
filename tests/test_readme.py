"""What the README and the pages under docs/ show runs, in miniature: Python, the Relay script and commands."""

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
from typer.main import get_command

import espalier
from espalier.cli import app
from espalier.tuning.latency_predictor import LEAST_NETWORKS

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text() for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
}
CODE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
BLOCKS = [block for page, text in PAGES.items() if page != "docs/fpga.md" for block in CODE.findall(text)]
"""Accelerators take minutes to simulate: tests/codegen/fpga_hls has those calls on small ones."""

PYTHON = [text for language, text in BLOCKS if language == "python"]
LINES = [line for language, text in BLOCKS if not language for line in text.splitlines()]
SLOW = [
    line
    for text in PAGES.values()
    for language, block in CODE.findall(text)
    for line in block.splitlines()
    if language == "sh" and line.startswith("espalier ")
]
"""Commands that take minutes or data: that they are commands is all that is checked."""

COMMANDS = list(dict.fromkeys(line for line in LINES if line.startswith("espalier ")))


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
    assert len(SLOW) >= 5


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


@pytest.mark.parametrize("line", SLOW)
def test_slow_commands_are_understood(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar-10-python.tar.gz").touch()
    name, *arguments = shlex.split(line, comments=True)[1:]
    context = get_command(app).commands[name].make_context(name, arguments)
    assert context.params


def test_every_figure_names_a_record_that_exists():
    records = set(re.findall(r"`(?:benchmarks/records/)?(\w+\.json)`", "\n".join(PAGES.values())))
    assert records
    assert not {name for name in records if not (ROOT / "benchmarks" / "records" / name).is_file()}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", PAGES[page])):
        path, _, heading = link.partition("#")
        if path.startswith("http"):
            continue
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not heading or heading in headings(target.read_text()), link


def headings(text: str) -> set[str]:
    """The anchors of a page's headings."""
    lines = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


def test_plan_example_loads():
    (text,) = [text for language, text in BLOCKS if language == "json"]
    assert espalier.Plan.from_dict(json.loads(text)).layer("layer4.1.conv2").granularity == 8
