"""Whatever a user can get wrong: one line on standard error, exit code 2, nothing left on disk."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import onnx
import pytest
from command_line import MANY, X, assert_refused, compiled, output_of, saved
from models import ModelBuilder, plain_net
from onnx import helper

folder = pytest.fixture(scope="module")(compiled)


def broken_model(path, kind):
    """A file that is no usable model, in one of several ways."""
    b = ModelBuilder()
    if kind == "no onnx":
        path.write_bytes(b"\x00nothing")
    elif kind == "operator":
        b.nodes.append(helper.make_node("Frobnicate", ["x"], ["y"], name="odd"))
        onnx.save(b.model([1, 3, 8, 8], "y"), path)
    elif kind == "dynamic":
        onnx.save(b.model(["N", 3, 8, 8], b.conv("x", "conv0", 3, 8)), path)
    elif kind == "no rank":
        model = b.model([1, 3, 8, 8], b.conv("x", "conv0", 3, 8))
        model.graph.input[0].type.tensor_type.ClearField("shape")
        onnx.save(model, path)
    elif kind == "nan":
        y = b.conv("x", "conv0", 3, 8)
        b.weights["conv0.weight"][0] = np.nan
        onnx.save(b.model([1, 3, 8, 8], y), path)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", ["model.onnx: cannot be read (No such file or directory)"]),
        ("no onnx", ["model.onnx"]),
        ("operator", ["Frobnicate (node 'odd')", "supported are", "Conv, "]),
        ("dynamic", ["input x: dimension 0 (N) is dynamic; bind it, for example --shape x=1,3,8,8"]),
        ("no rank", ["input x: its rank is unknown; bind it, for example --shape x=1,3,224,224"]),
        ("nan", ["initializer conv0.weight: 27 of 216 values are NaN"]),
    ],
)
@pytest.mark.parametrize("command", ["compile", "list", "calibrate"])
def test_models_that_are_refused(command, kind, words, folder, tmp_path):
    model = broken_model(tmp_path / "model.onnx", kind)
    arguments = {
        "compile": ("compile", model, "-o", tmp_path / "out"),
        "list": ("compile", model, "--list-layers"),
        "calibrate": ("calibrate", model, "--inputs", folder / "x16.npy", "--density", 0.5, "-o", tmp_path / "g.npz"),
    }
    assert_refused(arguments[command], *words, kept=tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--density", "0"), ["density", "got 0.0", "accepted is a number in (0, 1]"]),
        (("--density", "1.5"), ["density", "got 1.5"]),
        (("--align-density",), ["aligned density: the plan leaves no gate open", "a default density below 1"]),
        (("--density", "nan"), ["density", "got nan"]),
        (("--granularity", "3"), ["granularity", "got 3", "1, 4, 8, 16"]),
        (("--placement", "outer"), ["placement", "inner, branch, sum"]),
        (("--weights", "float7"), ["weights", "got 'float7'"]),
        (("--activations", "float7"), ["activations", "got 'float7'"]),
        (("--target", "tpu"), ["target tpu", "accepted are"]),
        (("--target", '{"kind":'), ["not a JSON object"]),
        (("--target", '{"kind": "llvm", "mcpu": "i999"}'), ["mcpu 'i999' is not known"]),
        (("--shape", "x"), ["--shape x: accepted is NAME=SIZES"]),
        (("--shape", "x=1,a"), ["--shape x=1,a: accepted is NAME=SIZES"]),
        (("--shape", "y=1,3,8,8"), ["no input 'y', accepted are x"]),
        (("--shape", "x=1,3,9,9"), ["input x cannot be [1, 3, 9, 9]"]),
        (("--calibration", "missing.npz"), ["missing.npz"]),
        (("--plan", "missing.json"), ["plan missing.json: cannot be read"]),
    ],
)
def test_options_that_are_refused(options, words, folder, tmp_path):
    assert_refused(("compile", folder / "net.onnx", "-o", tmp_path / "out", *options), *words, kept=tmp_path)


def test_a_gated_plan_without_calibration_is_refused(folder, tmp_path):
    arguments = ("compile", folder / "net.onnx", "-o", tmp_path / "out", "--density", 0.5)
    assert_refused(arguments, "calibration", kept=tmp_path)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ('{"version": 1, "layers": {"conv7": {"density": 0.5}}}', ["no layer is called 'conv7'", "conv0"]),
        ('{"version": 1, "layers": {"conv0": {"speed": 2}}}', ["layer 'conv0'", "unknown field 'speed'"]),
        ('{"version": 9}', ["version 9"]),
        ("{", ["not a JSON text"]),
    ],
)
def test_plans_that_are_refused(plan, words, folder, tmp_path):
    (tmp_path / "plan.json").write_text(plan)
    arguments = ("compile", folder / "net.onnx", "-o", tmp_path / "out", "--plan", tmp_path / "plan.json")
    assert_refused(arguments, *words, kept=tmp_path)


@pytest.mark.parametrize("kind", ["wrong shape", "wrong type", "not finite", "too few", "text", "saved calibration"])
def test_calibration_inputs_that_are_refused(kind, folder, tmp_path):
    path = tmp_path / "inputs.npz"
    arrays = {
        "wrong shape": MANY[:, :1],
        "wrong type": MANY.astype(np.float64),
        "not finite": np.where(MANY > 2, np.nan, MANY).astype(np.float32),
        "too few": MANY[:2],
    }
    if kind in arrays:
        np.savez(path, x=arrays[kind])
    elif kind == "text":
        path.write_text("nothing")
    else:
        shutil.copy(folder / "gates.npz", path)
    arguments = ("calibrate", folder / "net.onnx", "--inputs", path, "--density", 0.5, "-o", tmp_path / "g.npz")
    assert_refused(arguments, "accepted" if kind != "text" else "inputs.npz", kept=tmp_path)


def test_calibrating_for_a_dense_plan_is_refused(folder, tmp_path):
    arguments = ("calibrate", folder / "net.onnx", "--inputs", folder / "x16.npy", "-o", tmp_path / "g.npz")
    assert_refused(arguments, "gates no layer and quantizes none", "--density 0.5", kept=tmp_path)


def test_quantizing_without_ranges_is_refused(folder, tmp_path):
    arguments = ("compile", folder / "net.onnx", "-o", tmp_path / "out", "--weights", "uniform<8>")
    assert_refused(arguments, "range of the activations", "--calibration", kept=tmp_path)
    calibrate = ("calibrate", folder / "net.onnx", "--inputs", folder / "x16.npy", "--weights", "uniform<8>")
    assert_refused((*calibrate, "--ranges", "max", "-o", tmp_path / "r.npz"), "mse, percentile, minmax", kept=tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "no program", "no manifest", "other version", "no folder"])
@pytest.mark.parametrize("command", ["run", "profile", "bench"])
def test_artifacts_that_are_refused(command, damage, folder, tmp_path):
    artifact = tmp_path / "artifact"
    shutil.copytree(folder / "dense", artifact)
    manifest = artifact / "artifact.json"
    if damage == "truncated":
        os.truncate(artifact / "program.so", 1000)
    elif damage == "no program":
        (artifact / "program.so").unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "other version":
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "espalier_artifact": 99}))
    else:
        shutil.rmtree(artifact)
    options = ("--input", folder / "x.npy") if command == "run" else ()
    assert_refused((command, artifact, *options), "artifact", kept=tmp_path)


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (X[:, :2], "got float32 [1, 2, 8, 8]"),
        (X[0], "got float32 [3, 8, 8]"),
        (X.astype(np.float64), "got float64 [1, 3, 8, 8]"),
        (np.array(["a"]), "got <U1 [1]"),
    ],
)
@pytest.mark.parametrize(("command", "option"), [("run", "--input"), ("profile", "--input"), ("bench", "--inputs")])
def test_inputs_that_are_refused(command, option, array, word, folder, tmp_path):
    arguments = (command, folder / "dense", option, saved(tmp_path, array))
    assert_refused(arguments, f"input x: {word}, accepted is float32 [1, 3, 8, 8]", kept=tmp_path)


def test_input_files_that_are_refused(folder, tmp_path):
    run = ("run", folder / "dense", "--input")
    assert_refused((*run, tmp_path / "none.npy"), "none.npy: cannot be read (No such file", kept=tmp_path)
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04")
    assert_refused((*run, tmp_path / "bad.npz"), "not an .npy or .npz file", kept=tmp_path)
    np.save(tmp_path / "pickled.npy", np.array([{}]), allow_pickle=True)
    assert_refused((*run, tmp_path / "pickled.npy"), "not an .npy or .npz file", kept=tmp_path)
    np.savez(tmp_path / "two.npz", x=X, y=X)
    assert_refused((*run, tmp_path / "two.npz"), "input y: unknown, accepted are x float32", kept=tmp_path)


def test_output_folders_that_are_refused(folder, tmp_path):
    compile = ("compile", folder / "net.onnx", "-o")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    assert_refused((*compile, tmp_path / "full"), "full: exists and is no saved artifact", kept=tmp_path)
    assert_refused((*compile, tmp_path / "file"), "file: is a file", kept=tmp_path)
    assert_refused((*compile, tmp_path / "file" / "out"), "cannot be written", kept=tmp_path)
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize("place", ["file/y.npz", "folder"])
def test_output_files_that_are_refused(place, folder, tmp_path):
    (tmp_path / "file").write_text("keep")
    (tmp_path / "folder").mkdir()
    run = ("run", folder / "dense", "--input", folder / "x.npy", "-o", tmp_path / place)
    assert_refused(run, str(tmp_path), kept=tmp_path)
    calibrate = ("calibrate", folder / "net.onnx", "--inputs", folder / "x16.npy", "--density", 0.5)
    assert_refused((*calibrate, "-o", tmp_path / place), str(tmp_path), kept=tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--against", "tflite"), ["peer 'tflite': unknown, accepted are onnxruntime, openvino, torch"]),
        (("--against", "onnxruntime", "--model", "none.onnx"), ["none.onnx: no such file"]),
        (("--labels", "labels.npy"), ["only together with --inputs"]),
    ],
)
def test_benches_that_are_refused(options, words, folder, tmp_path):
    assert_refused(("bench", folder / "dense", *options), *words, kept=tmp_path)


@pytest.mark.parametrize("threads", [0, 9999])
@pytest.mark.parametrize("command", ["run", "profile", "bench"])
def test_thread_counts_that_are_refused(command, threads, folder, tmp_path):
    options = ("--input", folder / "x.npy") if command == "run" else ()
    arguments = (command, folder / "dense", *options, "--threads", threads)
    assert_refused(arguments, f"threads: got {threads}, accepted are 1 to ", kept=tmp_path)


def test_bench_needs_a_model_for_its_peers(folder, tmp_path):
    shutil.copytree(folder / "dense", tmp_path / "dense")
    (tmp_path / "dense" / "model.onnx").unlink()
    assert_refused(("bench", tmp_path / "dense", "--against", "onnxruntime"), "dense", kept=tmp_path)
    output_of("compile", folder / "net.onnx", "-o", tmp_path / "bare", "--no-keep-model")
    assert_refused(("bench", tmp_path / "bare", "--against", "onnxruntime"), "--model", kept=tmp_path)


def test_bench_refuses_artifacts_of_other_shapes(folder, tmp_path):
    onnx.save(plain_net(size=9), tmp_path / "nine.onnx")
    output_of("compile", tmp_path / "nine.onnx", "-o", tmp_path / "nine")
    arguments = ("bench", folder / "dense", tmp_path / "nine")
    assert_refused(arguments, "its inputs are x float32 [1, 3, 9, 9]", kept=tmp_path)
    assert_refused(("bench", folder / "dense", folder / "dense"), "named twice", kept=tmp_path)


@pytest.mark.parametrize("labels", [np.zeros((16, 1), np.int64), np.zeros(16), np.zeros(3, np.int64)])
def test_labels_that_are_refused(labels, folder, tmp_path):
    np.save(tmp_path / "labels.npy", labels)
    arguments = ("bench", folder / "dense", "--rounds", 1, "--inputs", folder / "x16.npy", "--labels")
    assert_refused((*arguments, tmp_path / "labels.npy"), "labels", "accepted is", kept=tmp_path)
