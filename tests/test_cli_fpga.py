"""The command line for accelerators: compile, profile and synth on one small network."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import onnx
import pytest
from command_line import MANY, X, assert_refused, json_of, output_of
from hls_projects import needs_headers
from models import ModelBuilder, plain_net

import espalier
from espalier.report import tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a network, inputs, and what `espalier compile` made of them for a board and for this CPU."""
    path = tmp_path_factory.mktemp("fpga")
    onnx.save(plain_net(), path / "net.onnx")
    np.save(path / "x.npy", X)
    np.save(path / "x16.npy", MANY)
    quantized = ("--weights", "uniform<8>", "--calibration", path / "x16.npy")
    text = output_of("compile", path / "net.onnx", "-o", path / "out", "--target", "fpga_hls/pynq-z2", *quantized)
    assert "pynq-z2, estimated: " in text
    assert "frames a second at 100 MHz" in text
    output_of("compile", path / "net.onnx", "-o", path / "cpu")
    output_of("compile", path / "net.onnx", "-o", path / "cpu8", *quantized)
    return path


def test_what_is_compiled_can_be_profiled(folder):
    found = json_of("profile", folder / "out")
    assert (found["board"], found["simulated"], found["interval_cycles"]) == ("pynq-z2", "none", None)
    assert found["frames_per_s"] == found["clock_hz"] / found["predicted_interval_cycles"]
    text = output_of("profile", folder / "out")
    assert "cycles a frame, latency" in text
    layers = json_of("profile", folder / "cpu8", "--repeats", 1)["layers"]
    bits = {stage["layer"]: stage["bit_operations"] for stage in found["stages"] if stage["bit_operations"]}
    assert bits == {one["name"]: one["bit_operations"] for one in layers if one["name"] in bits}
    assert bits.keys() >= {"conv0", "conv1"}
    assert found["bit_operations"] == sum(bits.values())
    assert "bit ops" in text
    assert f"total {tables.quantity(found['bit_operations'])}" in " ".join(text.split())


@pytest.mark.skipif(shutil.which("verilator") is None, reason="needs verilator")
def test_a_simulation_gives_cycles_and_estimates_power(folder):
    found = json_of("profile", folder / "out", "--simulate", "rtl")
    assert found["interval_cycles"] == found["predicted_interval_cycles"]
    assert found["latency_cycles"] == found["predicted_latency_cycles"]
    powers = [stage["power"] for stage in found["stages"]]
    assert all(0 < one["toggles_per_cycle"] < 1 and one["label"] == "estimate" for one in powers)
    parts = sum(one[name] for one in powers for name in ("logic_w", "dsps_w", "blocks_w"))
    assert found["estimated_power_w"] == pytest.approx(parts)
    assert json_of("profile", folder / "out")["estimated_power_w"] is None


@needs_headers
def test_the_cpp_is_simulated(folder):
    found = json_of("profile", folder / "out", "--simulate", "hls")
    assert (found["simulated"], found["interval_cycles"], found["estimated_power_w"]) == ("hls", None, None)


def test_what_is_compiled_runs_on_the_host(folder):
    output_of("run", folder / "out", "--input", folder / "x.npy", "-o", folder / "y.npz")
    with np.load(folder / "y.npz") as results:
        assert [len(results[name]) for name in results.files] == [1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("profile", "out", "--simulate", "cosim"), ["simulate is 'cosim', accepted are hls, rtl"]),
        (
            ("profile", "cpu", "--simulate", "rtl"),
            ["was compiled for a CPU, accepted are artifacts for fpga_hls/<board>"],
        ),
        (("synth", "cpu"), ["was compiled for a CPU"]),
        (("synth", "out", "--tool", "quartus"), ["got 'quartus', accepted are yosys, nextpnr-ecp5, vitis"]),
        (("synth", "out", "--stage", "nothing"), ["there is no 'nothing', accepted are", "conv0"]),
        (
            ("synth", "out", "--tool", "vitis", "--stage", "conv0"),
            ["--stage: --tool vitis takes whole designs only, accepted are yosys, nextpnr-ecp5"],
        ),
        (("synth", "out", "--tool", "vitis", "--per-stage"), ["--per-stage: --tool vitis takes whole designs only"]),
        (
            ("synth", "out", "--tool", "nextpnr-ecp5"),
            ["routes for an ECP5, not for pynq-z2; use yosys or vitis"],
        ),
    ],
)
def test_what_is_refused(arguments, words, folder):
    command, name, *rest = arguments
    assert_refused((command, folder / name, *rest), *words, kept=folder)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--target", "fpga_hls/nothing"), ["no board 'nothing', accepted are fpga_hls/pynq-z2"]),
        (("--target", "fpga_hls/pynq-z2"), ["layer 'conv0': is in floating point", "--weights 'uniform<8>'"]),
    ],
)
def test_targets_and_plans_that_are_refused(options, words, folder):
    assert_refused(("compile", folder / "net.onnx", "-o", folder / "new", *options), *words, kept=folder)


@pytest.mark.parametrize("tool", ["yosys", "vitis"])
def test_a_missing_synthesizer_is_named(tool, folder, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(folder / "python"))  # beside it pip puts some
    assert_refused(("synth", folder / "out", "--tool", tool), "is not installed; get it by", kept=folder)


@pytest.mark.skipif(shutil.which("yosys") is None, reason="needs yosys")
def test_cells_of_stages_add_up(tmp_path):
    layers = ModelBuilder()
    y = layers.head(layers.relu(layers.conv("x", "conv0", 1, 2, kernel=1)), "fc", 2, 2)
    mod, plan = espalier.from_onnx(layers.model([1, 1, 2, 2], y)), espalier.Plan(weights="uniform<8>")
    target = {"kind": "ext_dev", "device": "pynq-z2", "feature.frames_per_s": 1000.0}
    images = np.random.default_rng(0).standard_normal((16, 1, 2, 2)).astype(np.float32)
    espalier.build(mod, target, plan, espalier.calibrate(mod, images, plan)).save(tmp_path / "out")
    counts = json_of("synth", tmp_path / "out", "--tool", "yosys", "--per-stage", "--jobs", 2)["counts"]
    assert {"conv0", "streams", "total"} < counts.keys()
    for kind in ("luts", "ffs", "dsps", "bram_36k"):
        assert counts["total"][kind] == sum(one[kind] for name, one in counts.items() if name != "total")
    assert min(counts["conv0"]["luts"], counts["streams"]["luts"]) > 0


def test_a_synthesizer_that_hangs_is_stopped_and_its_log_named(folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "out", tmp_path / "out")
    tool = tmp_path / "yosys"
    tool.write_text("#!/bin/sh\necho reading\nsleep 60\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    log = tmp_path / "out" / "synthesis" / "stage_conv0.out"
    said = f"yosys: no end after 1 s, stopped; its log is {log}"
    assert_refused(("synth", tmp_path / "out", "--stage", "conv0", "--limit", 1), said, kept=folder)
    assert log.read_text() == "reading\n"
