"""`espalier tune` and `espalier records`, and what `espalier compile` and the other front doors make of records."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from command_line import X, assert_refused, call, json_of, output_of
from models import plain_net

import espalier
from espalier import relay
from espalier.core.records import RecordFile
from espalier.measure.environment import record_environment
from espalier.tuning import metaschedule

ONE_CORE = '{"kind": "llvm", "num-cores": 1}'
TARGET = ("--target", ONE_CORE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model and the records of twelve trials of its two convolutions."""
    path = tmp_path_factory.mktemp("tuning")
    onnx.save(plain_net(), path / "net.onnx")
    result = call("tune", path / "net.onnx", *TARGET, "--budget", "12trials", "--records", path / "r.db", "--json")
    assert result.exit_code == 0, result.stderr
    (path / "tuned.json").write_text(result.stdout)
    return path


def read(path):
    with RecordFile(path) as file:
        return file.read()


def test_tuning_measures_every_convolution(folder):
    found = json.loads((folder / "tuned.json").read_text())
    assert (found["trials"], found["end"]) == (12, "the budget is spent")
    assert {tuple(one["layers"]) for one in found["tasks"]} == {("conv0",), ("conv1",)}
    assert all(0 < one["best_s"] <= one["rule_s"] < 1 for one in found["tasks"])
    records = read(folder / "r.db")
    assert len(records) == 12
    assert {one.state for one in records} <= {"ok", "disturbed"}
    assert all(one.environment == record_environment() for one in records)


def test_tuning_again_goes_on(folder, tmp_path):
    (tmp_path / "r.db").write_bytes((folder / "r.db").read_bytes())
    text = output_of("tune", folder / "net.onnx", *TARGET, "--budget", "4trials", "--records", tmp_path / "r.db")
    assert "4 trials in" in text
    assert "times as fast" in text
    choices = [(one.task, one.choice) for one in read(tmp_path / "r.db")]
    assert len(choices) == len(set(choices)) == 16


def test_a_build_with_records_says_which_and_computes_the_same(folder, tmp_path):
    plain = json_of("compile", folder / "net.onnx", *TARGET, "-o", tmp_path / "plain")
    tuned = json_of("compile", folder / "net.onnx", *TARGET, "-o", tmp_path / "tuned", "--records", folder / "r.db")
    best = {one["layers"][0]: one["best"] for one in json.loads((folder / "tuned.json").read_text())["tasks"]}
    for layer in ("conv0", "conv1"):
        (line,) = [line for line in tuned["report"] if line.startswith(f"{layer}: ") and "of r.db)" in line]
        assert " takes " in line
        assert best[layer].split("(")[0] in line
    assert not [line for line in plain["report"] if "r.db" in line]
    first, second = (espalier.load(tmp_path / name)(X) for name in ("plain", "tuned"))
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)


def test_every_front_door_takes_records(folder):
    mod = espalier.from_onnx(folder / "net.onnx")
    target = json.loads(ONE_CORE)
    direct = espalier.build(mod, target=target, records=folder / "r.db").report
    with espalier.PassContext(config={"espalier.records": str(folder / "r.db")}):
        assert relay.build(mod, target=target).artifact.report == direct
    assert sum("of r.db)" in line for line in direct) == 2
    elsewhere = espalier.build(mod, target={"kind": "llvm", "num-cores": 7}, records=folder / "r.db").report
    assert "2 convolutions: no known times, predicted ones decide" in elsewhere


def test_looking_after_records(folder, tmp_path):
    path = tmp_path / "r.db"
    path.write_bytes((folder / "r.db").read_bytes())
    listed = json_of("records", "list", path)
    assert (listed["records"], len(listed["tasks"])) == (12, 2)
    assert "12 records" in output_of("records", "list", path)
    assert json_of("records", "export", path, tmp_path / "r.jsonl")["exported"] == 12
    assert json_of("records", "import", tmp_path / "new.db", tmp_path / "r.jsonl")["new"] == 12
    assert json_of("records", "import", tmp_path / "new.db", tmp_path / "r.jsonl")["new"] == 0
    assert json_of("records", "merge", tmp_path / "both.db", path, tmp_path / "new.db")["new"] == 12
    assert json_of("records", "prune", path, "--keep", 1) == {"removed": 0, "left": 12, "remarks": []}
    assert read(tmp_path / "both.db") == read(folder / "r.db")


def test_what_is_refused(folder, tmp_path):
    (tmp_path / "text").write_text("no records" * 100)
    tune = ("tune", folder / "net.onnx", *TARGET, "--budget")
    assert_refused([*tune, "soon"], "budget: got 'soon'", kept=tmp_path)
    assert_refused([*tune, "1trials", "--records", tmp_path / "text"], "not a database", kept=tmp_path)
    assert_refused(
        [*tune, "1trials", "--search", "blind", "--records", tmp_path / "r"], "search: got 'blind'", kept=tmp_path
    )
    accepted = "accepted are pretrained, analytic, xgboost, gp, random"
    assert_refused([*tune, "1trials", "--cost-model", "oracle"], accepted, kept=tmp_path)
    assert_refused([*tune, "1trials", "--tracker", "here"], "accepted is HOST:PORT/KEY", kept=tmp_path)
    assert_refused([*tune, "1trials", "--tuner", "other"], "accepted are espalier and metaschedule", kept=tmp_path)
    peer = [*tune, "1trials", "--tuner", "metaschedule", "--search", "random"]
    assert_refused(peer, "it has its own search and cost model", kept=tmp_path)
    many = '{"kind": "llvm", "num-cores": 999}'
    assert_refused(
        [*tune, "1trials", "--target", many, "--records", tmp_path / "r"], "this machine lends", kept=tmp_path
    )
    assert_refused(["records", "list", tmp_path / "absent"], "no such file", kept=tmp_path)


def test_the_peer_is_told_of_task_by_task(folder, tmp_path, monkeypatch):
    def answer(work, folder, trials, seed):
        return metaschedule.PeerResult(work, trials, 1, 2e-3 if "conv0" in work.layers else None, None)

    monkeypatch.setattr(metaschedule, "tune_task", answer)
    peer = ("tune", folder / "net.onnx", *TARGET, "--tuner", "metaschedule", "--budget", "8trials", "--records")
    found = json_of(*peer, tmp_path / "r.db")
    assert [(one["layers"], one["trials"], one["failed"], one["best_s"]) for one in found["tasks"]] == [
        (["conv0"], 4, 1, 2e-3), (["conv1"], 4, 1, None)
    ]  # fmt: skip
    assert "builds do not use its schedules" in output_of(*peer, tmp_path / "r.db")
    assert len(read(tmp_path / "r.db")) == 2


def test_ctrl_c_keeps_what_was_measured(folder, tmp_path):
    command = [sys.executable, "-c", "from espalier.cli import main; main()", "tune", str(folder / "net.onnx"), *TARGET]
    process = subprocess.Popen(
        [*command, "--budget", "1h", "--records", str(tmp_path / "r.db")], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not ((tmp_path / "r.db").exists() and _count(tmp_path / "r.db")):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in output
    assert len(read(tmp_path / "r.db")) >= 4


def _count(path) -> int:
    try:
        return len(read(path))
    except espalier.InvalidInputError:  # not written yet
        return 0
