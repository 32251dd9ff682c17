"""Programs for a GPU are compiled, saved and read where there is none; running one says what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import tvm
from onnx import helper, numpy_helper
from oracles import emulated
from oracles.graphs import random_calibration
from oracles.networks import NETWORKS, plain
from typer.testing import CliRunner

import espalier
from espalier import relay
from espalier.cli import app
from espalier.codegen.cuda import device
from espalier.codegen.cuda.device import require_device, runs_on
from espalier.codegen.cuda.program import CudaProgram
from espalier.codegen.cuda.toolchain import package_folders
from espalier.core.errors import CorruptArtifactError, ToolNotFoundError, UnsupportedTargetError
from espalier.core.plan import Plan
from espalier.report import tables

PLAN = Plan(density=0.5, granularity=8)
LAUNCHED = {"conv0", "conv0.sums", "conv0.gate", "conv1", "conv1.gate", "conv2", "conv2.gate", "fc"}
no_gpu = pytest.mark.skipif(tvm.cuda(0).exist, reason="this machine has a GPU")


@pytest.fixture(scope="module")
def artifact():
    mod = plain(channels=32)
    return espalier.build(mod, "nvidia/nvidia-h100", PLAN, random_calibration(mod, PLAN))


@pytest.fixture(scope="module")
def folder(artifact, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "artifact"
    artifact.save(folder)
    return folder


def test_a_saved_program_says_what_it_launches(artifact, folder):
    loaded = espalier.load(folder)
    assert loaded.program.launches == artifact.program.launches
    assert {launch.layer for launch in loaded.program.launches} == LAUNCHED
    assert all(launch.registers for launch in loaded.program.launches)
    assert loaded.target["arch"] == "sm_90a"


def test_the_library_needs_no_part_of_cuda_but_the_driver(folder):
    needed = subprocess.run(["readelf", "-d", folder / "program.so"], capture_output=True, text=True, check=True).stdout
    assert "NEEDED" in needed
    assert not [line for line in needed.splitlines() if "NEEDED" in line and ("cuda" in line or "tvm" in line)]


def test_the_library_loads_where_nothing_can_be_compiled(folder, driver):
    """TVM's own kernels in it are machine code, too, which TVM keeps as source where there is no driver."""
    cudart = next(one for each in package_folders() for one in (each / "lib").glob("libcudart.so.*"))
    command = [sys.executable, Path(emulated.__file__).with_name("load_for_a_gpu.py"), folder / "program.so", cudart]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(driver)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["relax.VMExecutable", "library", "cuda"], done.stderr
    assert b"__launch_bounds__" not in (folder / "program.so").read_bytes()


@no_gpu
def test_without_a_driver_a_run_says_so(folder):
    artifact = espalier.load(folder)
    with pytest.raises(UnsupportedTargetError, match="NVIDIA's driver was not found"):
        artifact(np.zeros(artifact.inputs[0].shape, np.float32))


class OldDriver:
    """A driver for CUDA 12.4."""

    def cuDriverGetVersion(self, pointer) -> int:
        pointer._obj.value = 12040
        return 0


def test_an_old_driver_is_named(monkeypatch):
    monkeypatch.setattr(device.ctypes, "CDLL", lambda _: OldDriver())
    with pytest.raises(UnsupportedTargetError, match="driver 580 or newer .*, this one is for CUDA 12.4"):
        require_device("sm_90a")


def test_another_gpu_than_the_library_was_built_for_is_named(monkeypatch):
    present = SimpleNamespace(exist=True, compute_version="8.6", device_name="A10")
    monkeypatch.setattr(device, "_require_driver", lambda: None)
    monkeypatch.setattr(device.tvm, "cuda", lambda _: present)
    with pytest.raises(UnsupportedTargetError, match="compiled for sm_90a and this GPU, A10, is sm_86"):
        require_device("sm_90a")


class FaultyTensor:
    """What a kernel that faulted leaves behind: the error comes when somebody waits for it."""

    def __iter__(self):
        return iter([self])

    def numpy(self):
        raise RuntimeError("Traceback ...\n  CUDA: out of memory\n")


@pytest.mark.parametrize("waits", [False, True])
def test_what_a_gpu_cannot_do_is_one_line(waits, monkeypatch):
    def main(*_):
        if waits:
            return FaultyTensor()
        raise RuntimeError("Traceback ...\n  CUDA: out of memory\n")

    program = CudaProgram("sm_90a", None)
    program.__dict__["machine"] = {"main": main}  # in the place of what a GPU would run
    monkeypatch.setattr("espalier.codegen.cuda.program.tvm.cuda", lambda _: tvm.cpu())
    with pytest.raises(UnsupportedTargetError, match="^the GPU could not run the artifact: CUDA: out of memory$"):
        program.run([np.zeros(3, np.float32)])


def test_which_gpus_run_which_code():
    assert runs_on("sm_80", (8, 0))
    assert runs_on("sm_80", (8, 6))
    assert not runs_on("sm_86", (8, 0))
    assert not runs_on("sm_80", (9, 0))
    assert runs_on("sm_90a", (9, 0))
    assert not runs_on("sm_90a", (9, 1))


def test_damaged_descriptions_are_refused(artifact, tmp_path):
    artifact.program.save(tmp_path)
    (tmp_path / "program.json").write_text(json.dumps({"arch": "sm_80"}))
    from espalier.codegen.cuda.program import load_program

    with pytest.raises(CorruptArtifactError, match="cannot be loaded"):
        load_program(tmp_path)


def test_without_nvcc_a_build_says_how_to_get_it(monkeypatch):
    def missing():
        raise ToolNotFoundError("nvcc: not there")

    monkeypatch.setattr("espalier.codegen.cuda.generate.compiler", missing)
    with pytest.raises(ToolNotFoundError, match="nvcc: not there"):
        espalier.build(plain(), "nvidia/nvidia-h100")


def test_compressed_programs_are_for_cpus():
    with pytest.raises(UnsupportedTargetError, match="llvm only"):
        espalier.build(plain(), "nvidia/nvidia-h100", compress=True)


def test_formats_of_gpus_are_refused_on_a_cpu():
    with pytest.raises(UnsupportedTargetError, match="layer conv0: float16 is for GPUs"):
        espalier.build(plain(), "llvm", Plan(weights="float16"))


def test_relay_builds_and_exports(tmp_path):
    weight, bias = np.ones((16, 16, 3, 3), np.float32), np.zeros(16, np.float32)
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv", pads=[1] * 4)
    ends = [helper.make_tensor_value_info(name, 1, [1, 16, 8, 8]) for name in ("x", "y")]
    arrays = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph([node], "one", ends[:1], ends[1:], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    mod, params = relay.frontend.from_onnx(model, {"x": (1, 16, 8, 8)})
    assert params
    library = relay.build(mod, target="nvidia/nvidia-h100", params=params)
    library.export_library(tmp_path / "net.so")
    loaded = tvm.runtime.load_module(str(tmp_path / "net.so"))
    assert loaded.artifact.program.arch == "sm_90a"
    with pytest.raises(UnsupportedTargetError, match="accepted is cuda"):
        loaded["default"](tvm.cpu())


def printed_profile(folder: Path) -> str:
    """What is printed on a wide terminal, in one line."""
    return " ".join(CliRunner().invoke(app, ["profile", str(folder)], env={"COLUMNS": "300"}).output.split())


@no_gpu
def test_profile_is_a_labelled_prediction(folder):
    outcome = CliRunner().invoke(app, ["profile", str(folder), "--json"])
    assert outcome.exit_code == 0, outcome.output
    data = json.loads(outcome.output)
    assert (data["kind"], data["measured"], data["arch"]) == ("prediction", None, "sm_90a")
    assert {one["launch"]["layer"] for one in data["launches"]} == LAUNCHED
    text = printed_profile(folder)
    assert "nothing in these tables was measured" in text
    assert "Not measured: the artifact is for a GPU" in text
    layers = {layer.name: layer.bit_operations for layer in espalier.load(folder).layers}
    multiplied = {one["launch"]["layer"]: one["bit_operations"] for one in data["launches"] if one["bit_operations"]}
    assert multiplied == {name: layers[name] for name in multiplied}
    assert multiplied.keys() == LAUNCHED & layers.keys()
    assert data["bit_operations"] == sum(layers.values())
    assert f"Bit operations of all layers, for one sample: {tables.quantity(data['bit_operations'])}." in text
    assert "grid blocks regs shared blocks/SM" in text
    first = data["launches"][0]
    launch = first["launch"]
    shared = tables.space(launch["shared_bytes"] + launch["static_shared_bytes"])
    grid, blocks = "x".join(map(str, launch["grid"])), np.prod(launch["grid"])
    assert f"{launch['layer']} {grid} {blocks} {launch['registers']} {shared}" in text
    assert first["bound"] == "launch"
    assert {name for name in data["stock_kernels"] if name in text} == set(data["stock_kernels"]) != set()


@no_gpu
def test_profile_names_what_fills_channels_that_rest(tmp_path):
    """A list is lost where a stock operator reads all channels."""
    mod = NETWORKS["residual"](channels=32)
    plan = Plan(weights="float16", density=0.5, granularity=8, placement="branch")
    built = espalier.build(mod, "nvidia/nvidia-h100", plan, random_calibration(mod, plan))
    filling = {one.layer for one in built.program.launches if one.fills_resting}
    built.save(tmp_path / "artifact")
    text = printed_profile(tmp_path / "artifact")
    assert filling
    assert {name for name in filling if f"finish_resting of {name}" in text} == filling


def test_an_artifact_for_a_gpu_without_figures_says_whose_it_has(tmp_path):
    built = espalier.build(plain(channels=32), "nvidia/geforce-rtx-3090", Plan(weights="float16"))
    built.save(tmp_path / "artifact")
    text = printed_profile(tmp_path / "artifact")
    assert "Prediction for nvidia/geforce-rtx-3090 (with the figures of A10) (sm_86)" in text


def test_layers_may_have_numbers_for_names():
    torch = pytest.importorskip("torch")
    layers = torch.nn.Conv2d(16, 16, 3), torch.nn.MaxPool2d(2), torch.nn.Conv2d(16, 16, 3), torch.nn.ReLU()
    mod = espalier.from_torch(torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1)), torch.zeros(1, 16, 12, 12))
    built = espalier.build(mod, "nvidia/nvidia-h100", Plan(weights="float16"))
    assert {launch.layer for launch in built.program.launches} >= {"0", "2"}
    assert any("max_pool" in name for name in built.program.stock_kernels)  # TVM schedules it and nvcc compiles it


def test_an_input_may_have_a_number_for_its_name(tmp_path):
    weight = np.ones((16, 16, 3, 3), np.float32)
    pool = helper.make_node("MaxPool", ["0"], ["1"], kernel_shape=[2, 2])
    nodes = [pool, helper.make_node("Conv", ["1", "w"], ["2"])]
    ends = [helper.make_tensor_value_info(name, 1, [1, 16, size, size]) for name, size in (("0", 12), ("2", 9))]
    graph = helper.make_graph(nodes, "numbers", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "numbers.onnx")
    built = espalier.build(espalier.from_onnx(tmp_path / "numbers.onnx"), "nvidia/nvidia-h100", Plan(weights="float16"))
    assert built.program.stock_kernels
    assert [one.name for one in built.inputs] == ["0"]
