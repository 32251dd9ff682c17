"""The command line for accelerators: compile, profile and synth on one small network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import MANY, X, assert_refused, json_of, output_of
from hls_projects import needs_headers
from models import ModelBuilder, plain_net
from rtl_projects import needs_icarus, needs_verilator
from synthesis_tools import NEXTPNR, SAMPLES, VITIS, needs_nextpnr, needs_yosys, write_tool

import espalier
from espalier.core.errors import UnsupportedTargetError
from espalier.report import tables

DOCUMENT = Path(__file__).parents[1] / "docs" / "fpga.md"


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


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with a network of two layers for 2x2 pixels, by the name of the board that it was made for."""
    layers = ModelBuilder()
    y = layers.head(layers.relu(layers.conv("x", "conv0", 1, 2, kernel=1)), "fc", 2, 2)
    mod, plan = espalier.from_onnx(layers.model([1, 1, 2, 2], y)), espalier.Plan(weights="uniform<8>")
    images = np.random.default_rng(0).standard_normal((16, 1, 2, 2)).astype(np.float32)
    calibration, path = espalier.calibrate(mod, images, plan), tmp_path_factory.mktemp("tiny")
    for board in ("pynq-z2", "ulx3s-85f"):
        target = {"kind": "ext_dev", "device": board, "feature.frames_per_s": 1000.0}
        espalier.build(mod, target, plan, calibration).save(path / board)
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


@needs_verilator
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
    found = json_of("profile", folder / "out", "--simulate", "hls", "--input", folder / "x.npy")
    assert (found["simulated"], found["interval_cycles"], found["estimated_power_w"]) == ("hls", None, None)
    assert found["inputs"] == str(folder / "x.npy")


@needs_headers
def test_random_inputs_of_a_simulation_are_said_to_be_so(tiny):
    assert "bit for bit, on random inputs: " in output_of("profile", tiny / "pynq-z2", "--simulate", "hls")
    assert "inputs" not in output_of("profile", tiny / "pynq-z2")


@pytest.mark.parametrize(("simulation", "tool"), [("rtl", "verilator"), ("hls", "g++")])
def test_a_simulation_that_hangs_is_stopped_and_the_option_named(simulation, tool, folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "out", tmp_path / "out")
    for name in ("verilator", "g++"):
        write_tool(tmp_path / "tools", name, "sleep 60")
    monkeypatch.setenv("PATH", str(tmp_path / "tools"), prepend=":")
    monkeypatch.setattr("espalier.measure.fpga.hls_simulation.headers_folder", lambda: tmp_path)
    arguments = ("profile", tmp_path / "out", "--simulate", simulation, "--limit", 1)
    words = f"{tool}: no end after 1 s, stopped; its log is {tmp_path}", "; --limit SECONDS gives it longer"
    assert_refused(arguments, *words, kept=folder)


@needs_icarus
def test_the_saved_design_is_simulated_by_the_documented_command(tiny, tmp_path):
    """With the vectors beside it; a wrong one is seen, the last one too."""
    shutil.copytree(tiny / "pynq-z2", tmp_path / "out")
    (commands,) = re.findall(r"^```\n(cd out/rtl\n.*?)```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    command = f"set -e\n{commands}"
    assert "mismatches=0" in said_by(command, tmp_path)
    expected = tmp_path / "out" / "rtl" / "vectors" / "expected.hex"
    *beats, last = expected.read_text().split()
    expected.write_text("\n".join([*beats, f"{int(last, 16) ^ 1:0{len(last)}x}"]) + "\n")
    said = said_by(command, tmp_path)
    assert f"espalier mismatch: frame=0 beat={len(beats)} got={last} expected=" in said
    assert "mismatches=1" in said
    expected.unlink()
    assert "espalier error: no +expected file" in said_by(command, tmp_path)


def said_by(command: str, folder: Path) -> str:
    """What a script of the shell prints that succeeds in a folder."""
    return subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_vectors_of_an_artifact_are_the_same_again(tiny, tmp_path):
    espalier.load(tiny / "pynq-z2").save(tmp_path / "again")
    for name in ("rtl/vectors/input.hex", "rtl/vectors/expected.hex"):
        assert (tmp_path / "again" / name).read_bytes() == (tiny / "pynq-z2" / name).read_bytes() != b""


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


def test_a_bench_says_what_it_timed_of_an_accelerator(folder):
    options = ("bench", folder / "out", folder / "cpu", "--rounds", 1)
    found, predicted = json_of(*options), json_of("profile", folder / "out")
    accelerator, none = (one["accelerator"] for one in found["contenders"])
    assert none is None
    assert accelerator["timed"] == "its integer network on the host"
    assert accelerator["board"] == "pynq-z2"
    for name in ("predicted_interval_cycles", "predicted_latency_cycles", "clock_hz"):
        assert accelerator[name] == predicted[name]
    assert accelerator["predicted_latency_s"] == predicted["latency_s"]
    assert accelerator["predicted_frames_per_s"] == predicted["frames_per_s"]
    text = " ".join(output_of(*options).split())
    assert "out is an accelerator for pynq-z2: what was timed is its integer network on the host, this CPU" in text
    assert "cpu is an accelerator" not in text


def test_there_is_nothing_to_tune_for_a_board(folder):
    arguments = ("tune", folder / "net.onnx", "--target", "fpga_hls/pynq-z2", "--records", folder / "new.db")
    words = "tuning: got fpga_hls/pynq-z2, whose design follows from its models at every build, accepted are llvm and"
    assert_refused(arguments, words, kept=folder)
    with pytest.raises(UnsupportedTargetError, match=r"tuning: got fpga_hls/pynq-z2"):
        espalier.tune(espalier.from_onnx(folder / "net.onnx"), "fpga_hls/pynq-z2")


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


@needs_yosys
def test_cells_of_stages_add_up(tiny):
    found = json_of("synth", tiny / "pynq-z2", "--tool", "yosys", "--per-stage", "--jobs", 2)
    counts = found["counts"]
    assert {"conv0", "streams", "total"} < counts.keys()
    for kind in ("luts", "ffs", "dsps", "bram_36k"):
        assert counts["total"][kind] == sum(one[kind] for name, one in counts.items() if name != "total")
        assert counts["total"][kind] <= found["available"][kind]
    assert min(counts["conv0"]["luts"], counts["streams"]["luts"]) > 0
    assert (found["fits"], found["lacks"]) == (True, {})


@pytest.fixture
def counted(folder, tmp_path, monkeypatch):
    """What `synth` says of a stage, as JSON and as text, where Yosys counts these cells."""
    shutil.copytree(folder / "out", tmp_path / "out")
    write_tool(tmp_path / "tools", "yosys", f'cp "{tmp_path}/stat.json" ../synthesis/stage_conv0.json')
    monkeypatch.setenv("PATH", str(tmp_path / "tools"), prepend=":")
    arguments = ("synth", tmp_path / "out", "--stage", "conv0")

    def said(cells: dict[str, int]) -> tuple[dict, str]:
        (tmp_path / "stat.json").write_text(json.dumps({"design": {"num_cells_by_type": cells}}))
        return json_of(*arguments), output_of(*arguments)

    return said


def test_what_a_board_lacks_is_told(counted):
    found, text = counted({"LUT6": 60_000, "FDRE": 106_400, "DSP48E1": 230, "RAMB18E1": 281})
    assert not found["fits"]
    assert found["lacks"]["luts"] == {"needed": 60_000, "available": 53_200}
    assert [line for line in text.splitlines() if " needed, " in line] == [
        "conv0: pynq-z2 lacks LUTs: 60,000 needed, 53,200 available",
        "conv0: pynq-z2 lacks DSP blocks: 230 needed, 220 available",
        "conv0: pynq-z2 lacks blocks of 36 kbit: 140.5 needed, 140 available",
    ]
    assert list(found["above_usable"]) == ["ffs"]
    assert "can be routed" not in text


@pytest.mark.parametrize(
    ("cells", "above", "verdict"),
    [
        ({"LUT6": 45_220}, {}, "fits pynq-z2 by count, not placed"),
        (
            {"LUT6": 45_221, "DSP48E1": 220},
            {"luts": 45_221},
            "within pynq-z2's cells by count, but above the 85 % of LUTs that can be routed as a rule",
        ),
        (
            {"LUT6": 53_200, "FDRE": 106_400},
            {"luts": 53_200, "ffs": 106_400},
            "within pynq-z2's cells by count, but above the 85 % of LUTs and the 85 % of flip-flops that can be routed "
            "as a rule",
        ),
    ],
)
def test_counts_that_can_hardly_be_routed_are_told(cells, above, verdict, counted):
    found, text = counted(cells)
    assert (found["fits"], found["lacks"]) == (True, {})
    usable = {"luts": 45_220, "ffs": 90_440}
    assert found["above_usable"] == {
        kind: {"needed": count, "usable": usable[kind], "usable_share": 0.85} for kind, count in above.items()
    }
    assert f"conv0: {verdict}" in text.splitlines()


@pytest.fixture
def routable(tiny, tmp_path, monkeypatch):
    """A copy of an artifact for an ECP5, with tools that give the sample for each stage."""
    shutil.copytree(tiny / "ulx3s-85f", tmp_path / "out")
    write_tool(tmp_path / "tools", "yosys", "exit 0")
    write_tool(tmp_path / "tools", "nextpnr-ecp5", NEXTPNR)
    monkeypatch.setenv("PATH", str(tmp_path / "tools"), prepend=":")
    return tmp_path / "out"


def test_routed_stages_are_added_up(routable):
    """Their logic: of three stages with 140 pins each, which the part has not, the pins are no part."""
    arguments = ("synth", routable, "--tool", "nextpnr-ecp5", "--per-stage")
    found, text = json_of(*arguments), output_of(*arguments)
    assert (found["aim_hz"], list(found["routed"])) == (120e6, ["conv0", "conv0_mean", "s2_fc"])
    assert found["routed"]["conv0"]["used"]["TRELLIS_IO"] == 140
    assert found["total"] == {"TRELLIS_COMB": 6264, "TRELLIS_FF": 6075, "DP16KD": 3, "MULT18X18D": 60}
    assert found["available"] == {"TRELLIS_COMB": 83640, "TRELLIS_FF": 83640, "DP16KD": 208, "MULT18X18D": 156}
    assert (found["fits"], found["lacks"], found["above_usable"]) == (True, {}, {})
    for said in ("total ", "ulx3s-85f ", "125.5 MHz", "aimed at 120 MHz", "total: fits ulx3s-85f by count, not placed"):
        assert said in text
    assert not re.search("TRELLIS_IO|DCCA", text)


def test_only_what_is_placed_may_take_all(routable, tmp_path):
    """The sum of stages that were routed alone is a count again."""
    sample = json.loads((SAMPLES / "nextpnr_report.json").read_text())
    tool, report = ("synth", routable, "--tool", "nextpnr-ecp5"), tmp_path / "report.json"
    write_tool(tmp_path / "tools", "nextpnr-ecp5", NEXTPNR.replace(f"{SAMPLES}/nextpnr_report.json", str(report)))
    sample["utilization"]["TRELLIS_COMB"]["used"] = 27_000
    report.write_text(json.dumps(sample))
    found = json_of(*tool, "--per-stage")
    assert (found["fits"], list(found["above_usable"])) == (True, ["TRELLIS_COMB"])
    assert found["above_usable"]["TRELLIS_COMB"] == {"needed": 81_000, "usable": 71_094, "usable_share": 0.85}
    said = "total: within ulx3s-85f's cells by count, but above the 85 % of TRELLIS_COMB that can be routed as a rule"
    assert said in output_of(*tool, "--per-stage")
    sample["utilization"]["TRELLIS_COMB"]["used"] = 81_000
    report.write_text(json.dumps(sample))
    assert json_of(*tool)["above_usable"] == {}
    assert "accelerator: fits ulx3s-85f" in output_of(*tool).splitlines()


@needs_nextpnr
def test_a_stage_is_routed(tiny):
    found = json_of("synth", tiny / "ulx3s-85f", "--tool", "nextpnr-ecp5", "--stage", "conv0")
    assert found["fits"]
    assert found["routed"]["conv0"]["clock_hz"] > 20e6


def test_a_report_of_vitis_is_shown(folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "out", tmp_path / "out")
    write_tool(tmp_path / "tools", "vitis_hls", VITIS)
    monkeypatch.setenv("PATH", str(tmp_path / "tools"), prepend=":")
    arguments = ("synth", tmp_path / "out", "--tool", "vitis")
    found, text = json_of(*arguments), " ".join(output_of(*arguments).split())
    assert (found["interval_cycles"], found["latency_cycles"], found["used"]["dsps"]) == (36868, 57241, 205)
    assert (found["fits"], found["lacks"], found["above_usable"]) == (True, {}, {})
    assert "accelerator: fits pynq-z2 by count, not placed" in text
    for said in ("DSP blocks 205 220", "fastest clock 137.2 MHz", "interval 36868 cycles", "latency 57241 cycles"):
        assert said in text


def test_what_a_board_lacks_is_told_of_vitis_too(folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "out", tmp_path / "out")
    sample = (SAMPLES / "csynth.xml").read_text()
    (tmp_path / "csynth.xml").write_text(sample.replace("<BRAM_18K>90<", "<BRAM_18K>281<"))
    write_tool(tmp_path / "tools", "vitis_hls", VITIS.replace(str(SAMPLES), str(tmp_path)))
    monkeypatch.setenv("PATH", str(tmp_path / "tools"), prepend=":")
    arguments = ("synth", tmp_path / "out", "--tool", "vitis")
    found = json_of(*arguments)
    assert (found["fits"], found["lacks"]) == (False, {"bram_18k": {"needed": 281, "available": 280}})
    said = "accelerator: pynq-z2 lacks blocks of 18 kbit: 281 needed, 280 available"
    assert said in output_of(*arguments).splitlines()


def test_a_synthesizer_that_hangs_is_stopped_and_its_log_named(folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "out", tmp_path / "out")
    write_tool(tmp_path, "yosys", "echo reading; sleep 60")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    log = tmp_path / "out" / "synthesis" / "stage_conv0.out"
    said = f"yosys: no end after 1 s, stopped; its log is {log}; --limit SECONDS gives it longer"
    assert_refused(("synth", tmp_path / "out", "--stage", "conv0", "--limit", 1), said, kept=folder)
    assert log.read_text() == "reading\n"
