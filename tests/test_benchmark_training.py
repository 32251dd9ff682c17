"""The benchmarks of trained networks: what they compute, on made-up checkpoints and files."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest
from models import onnxruntime_outputs
from support.onnx_graph import OnnxGraph, same_pads

import espalier
from espalier import Plan
from espalier.frontend.bundled import model_path

torch = pytest.importorskip("torch")

from support import checkpoints  # noqa: E402

from espalier.training.checkpoint import save_weights  # noqa: E402
from espalier.training.finished import drawn_network, with_gates  # noqa: E402
from espalier.training.recipe import Recipe  # noqa: E402
from espalier.training.stored import stored_state  # noqa: E402

GATED = Recipe("resnet8-gated", "resnet8", plan=Plan(density=0.5, placement="sum"))
NARROW = Recipe("mcifarnet-w50", "mcifarnet-w50")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights as they were drawn of a gated and of a narrower network."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for recipe in (GATED, NARROW):
        facts = {"recipe": recipe.to_dict(), "epochs": [{}, {}]}
        save_weights(folder / f"{recipe.name}.pt", stored_state(with_gates(drawn_network(recipe), recipe)), facts)
    return folder


def test_finished_weights_are_described(folder):
    narrow, gated = checkpoints.all_finished(folder)
    assert (gated.name, gated.network, gated.label, gated.epochs) == ("resnet8-gated", "resnet8", "d = 0.5 sum", 2)
    assert (narrow.network, narrow.label) == ("mcifarnet", "width 50 %")


def test_an_empty_folder_says_how_to_fill_it(tmp_path):
    with pytest.raises(espalier.InvalidInputError, match="holds no finished weights; train some with python -m"):
        checkpoints.all_finished(tmp_path)


def test_every_row_of_the_ablation_trains_gates():
    import bench_ablation

    recipes = [dataclasses.replace(bench_ablation.BASE, **changes) for changes in bench_ablation.VARIANTS.values()]
    assert all(one.is_gated for one in recipes)
    assert len({str(one.to_dict()) for one in recipes}) == len(recipes)


def test_the_control_measures_one_program(folder):
    pytest.importorskip("matplotlib")
    import bench_control

    x = np.random.default_rng(0).standard_normal((4, 3, 32, 32), "float32")
    only_gated = [one for one in checkpoints.all_finished(folder) if one.recipe.is_gated]
    programs = bench_control.compiled({"M-CifarNet": espalier.from_onnx(model_path())}, only_gated)
    rows = {row["checkpoint"]: row for row in bench_control.classified(only_gated, programs, x, np.zeros(4))}
    assert rows.keys() == programs.keys() == {"M-CifarNet", "resnet8-gated"}
    gated = rows["resnet8-gated"]
    assert gated["other_choices_than_torch"] == 0
    assert gated["top1"] == gated["top1_torch"]
    assert gated["macs"] < 0.5 * gated["macs_dense"]
    assert json.loads(json.dumps(gated)) == gated
    assert all(time["latency_s"] > 0 for time in bench_control.timed(programs, rounds=1).values())


def test_plots_depend_on_their_rows_only(tmp_path):
    pytest.importorskip("matplotlib")
    import bench_control
    import plot_active_channels

    rows = [
        {"network": network, "label": label, "gated": gated, "latency_s": ms / 1e3, "top1": 90 + ms}
        for network, label, gated, ms in (("a", "d", True, 1.0), ("a", "w", False, 2.0), ("b", "w", False, 1.0))
    ]
    layers = [plot_active_channels.layer_use(name, np.eye(10) > 0, np.arange(10)) for name in "abcde"]
    for name in ("1.svg", "2.svg"):
        bench_control.save(rows, tmp_path / f"control{name}")
        plot_active_channels.save("title", layers, tmp_path / f"active{name}")
    for name in ("control", "active"):
        assert (tmp_path / f"{name}1.svg").read_bytes() == (tmp_path / f"{name}2.svg").read_bytes()


@pytest.mark.parametrize(
    ("active", "entropy", "information"),
    [
        ([[1, 0], [1, 0], [1, 0], [1, 0]], 0, 0),  # always the same
        ([[1, 0], [1, 0], [0, 1], [0, 1]], 1, 1),  # decided by the class
        ([[1, 0], [0, 1], [1, 0], [0, 1]], 1, 0),  # not by the class
    ],
)
def test_what_entropy_and_class_say(active, entropy, information):
    pytest.importorskip("matplotlib")
    from plot_active_channels import layer_use

    found = layer_use("conv", np.array(active) > 0, np.array([0, 0, 1, 1]))
    assert found["entropy_bits"] == pytest.approx(entropy)
    assert found["class_information_bits"] == pytest.approx(information)
    assert found["highest_entropy_bits"] == pytest.approx(1)
    assert (found["groups"], found["kept"]) == (2, 1)


def test_choices_are_those_of_the_gates(folder):
    pytest.importorskip("matplotlib")
    from plot_active_channels import choices

    found = choices(checkpoints.finished(folder / "resnet8-gated.pt").model, np.zeros((3, 3, 32, 32), "float32"))
    assert all(active.sum(1).tolist() == [active.shape[1] // 2] * 3 for active in found.values())
    assert "conv1" in found


@pytest.mark.parametrize(("size", "taps", "stride"), [(32, 3, 1), (32, 3, 2), (15, 3, 2), (16, 1, 2), (49, 10, 2)])
def test_padding_same_gives_a_pixel_for_each_stride(size, taps, stride):
    top, left, bottom, right = same_pads([size, size], [taps, taps], [stride, stride])
    assert (size + top + bottom - taps) // stride + 1 == -(-size // stride)
    assert (top, bottom) == (left, right)
    assert bottom - top in (0, 1)


def test_a_keras_file_becomes_the_same_network(tmp_path):
    h5py = pytest.importorskip("h5py")
    from support.keras_to_onnx import keras_to_onnx

    rng, path = np.random.default_rng(0), tmp_path / "net.h5"
    weights = {
        "conv": {"kernel": rng.standard_normal((3, 3, 2, 4), "float32"), "bias": rng.standard_normal(4, "float32")},
        "norm": {
            part: rng.uniform(0.5, 1, 4).astype("float32")
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        },
        "dense": {"kernel": rng.standard_normal((4, 3), "float32"), "bias": rng.standard_normal(3, "float32")},
    }
    conv = {"kernel_size": [3, 3], "strides": [2, 2], "padding": "same", "use_bias": True, "activation": "linear"}
    layers = [
        ("InputLayer", "x", {"batch_input_shape": [None, 6, 6, 2]}, None),
        ("Conv2D", "conv", conv, "x"),
        ("BatchNormalization", "norm", {"epsilon": 0.001}, "conv"),
        ("Activation", "act", {"activation": "relu"}, "norm"),
        ("AveragePooling2D", "pool", {"pool_size": [3, 3], "strides": [3, 3]}, "act"),
        ("Flatten", "flat", {}, "pool"),
        ("Dense", "dense", {"units": 3, "activation": "softmax"}, "flat"),
    ]
    stored = [
        {"class_name": kind, "name": name, "config": config, "inbound_nodes": [[[source, 0, 0, {}]]] if source else []}
        for kind, name, config, source in layers
    ]
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"config": {"layers": stored}})
        for layer, parts in weights.items():
            for part, value in parts.items():
                file[f"model_weights/{layer}/{layer}/{part}:0"] = value

    x = rng.standard_normal((1, 2, 6, 6), "float32")
    got = onnxruntime_outputs(keras_to_onnx(path), x=x)[0]
    padded = torch.nn.functional.pad(torch.from_numpy(x), (0, 1, 0, 1))  # Keras puts the odd pixel at the end
    kernel = torch.from_numpy(weights["conv"]["kernel"].transpose(3, 2, 0, 1).copy())
    y = torch.nn.functional.conv2d(padded, kernel, torch.from_numpy(weights["conv"]["bias"]), 2)
    norm = {name: torch.from_numpy(value) for name, value in weights["norm"].items()}
    statistics = norm["moving_mean"], norm["moving_variance"], norm["gamma"], norm["beta"]
    y = torch.relu(torch.nn.functional.batch_norm(y, *statistics, eps=0.001)).mean((2, 3)).numpy()
    y = y @ weights["dense"]["kernel"] + weights["dense"]["bias"]
    np.testing.assert_allclose(got, np.exp(y) / np.exp(y).sum(), rtol=1e-4, atol=1e-6)


def test_scalars_stay_scalars():
    graph = OnnxGraph()
    y = graph.node("Mul", "y", "x", graph.constant("two", np.float32(2)))
    model = graph.model("net", "x", [1, 2], y, [1, 2])
    assert isinstance(model, onnx.ModelProto)
    assert list(model.graph.initializer[0].dims) == []
    np.testing.assert_array_equal(onnxruntime_outputs(model, x=np.ones((1, 2), "float32"))[0], [[2, 2]])
