"""From a module, a plan and gates to an artifact that runs, saves and loads."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest
from models import depthwise_net, onnxruntime_outputs, residual_net
from oracles.graphs import Graph, random_calibration
from oracles.networks import mobile, plain, residual, unusual
from oracles.running import assert_close, run_stock
from tvm import relax

import espalier
from espalier.build import build
from espalier.core.artifact import TensorSpec
from espalier.core.calibration import Calibration, Gate
from espalier.core.errors import (
    CorruptArtifactError,
    InvalidInputError,
    InvalidModelError,
    InvalidPlanError,
    UnsupportedTargetError,
)
from espalier.core.plan import Plan

X = np.random.default_rng(0).standard_normal((1, 3, 8, 8), np.float32)
HALF = Plan(density=0.5)
IS_X86 = platform.machine() in ("x86_64", "AMD64")


@pytest.fixture(scope="module")
def gated():
    """A gated network, built once."""
    return espalier.build(plain(), "llvm", HALF, random_calibration(plain(), HALF))


@pytest.mark.parametrize("net", [residual_net, depthwise_net])
@pytest.mark.parametrize("channels", [16, 20])
def test_dense_networks_equal_onnxruntime(net, channels):
    model = net(channels)
    artifact = build(espalier.from_onnx(model))
    assert_close(artifact(X), onnxruntime_outputs(model, x=X)[0])


@pytest.mark.parametrize(("placement", "mode"), [("inner", "boost"), ("branch", "select"), ("sum", "boost")])
def test_lowered_equals_body(placement, mode):
    mod, plan = residual(batch=3), Plan(density=0.5, placement=placement)
    calibration = random_calibration(mod, plan, mode)
    x = np.random.default_rng(1).standard_normal((3, 3, 36, 36), np.float32)
    lowered, body = (build(mod, "llvm", plan, calibration, lower=lower) for lower in (True, False))
    assert_close(lowered(x), body(x))
    assert lowered.layers == body.layers
    assert lowered.report == body.report


@pytest.mark.parametrize("plan", [Plan(weights="focused<5>"), Plan(layers={"conv0": {"weights": "focused<5>"}})])
def test_quantized_weights_need_ranges(plan):
    with pytest.raises(InvalidPlanError, match=r"quantized layers need the range .*espalier.calibrate.*--calibration"):
        build(plain(), plan=plan)


def test_the_first_and_the_last_layer_have_settings_of_their_own():
    """Calibrated and built as with the same settings by name; the artifact's plan has the names."""
    wide, rest = {"weights": "uniform<8>", "density": 1.0}, {"weights": "focused<5>", "density": 0.5}
    by_place = Plan(**rest, first=wide, last={"weights": "float32"})
    by_name = Plan(**rest, layers={"conv0": wide, "fc": {"weights": "float32"}})
    x = np.random.default_rng(1).standard_normal((16, 3, 8, 8), np.float32)
    calibration = espalier.calibrate(plain(), x, by_place)
    assert calibration.content()[0] == espalier.calibrate(plain(), x, by_name).content()[0]
    artifact = build(plain(), plan=by_place, calibration=calibration)
    formats = {layer.name: (layer.weights, layer.gate) for layer in artifact.layers}
    assert formats["conv0"] == ("uniform<8>", "none")
    assert formats["conv1"][0] == formats["conv2"][0] == "focused<5>"
    assert formats["fc"][0] == "float32"
    assert artifact.plan == by_name
    np.testing.assert_array_equal(artifact(X), build(plain(), plan=by_name, calibration=calibration)(X))


@pytest.mark.skipif(not IS_X86, reason="needs an x86 machine")
@pytest.mark.parametrize("mcpu", ["haswell", "x86-64"])
def test_other_instruction_sets_give_the_same(gated, mcpu):
    """AVX2, and SSE2 alone."""
    other = build(plain(), {"kind": "llvm", "mcpu": mcpu}, HALF, random_calibration(plain(), HALF))
    assert other.program.isa == {"haswell": "avx2", "x86-64": "generic"}[mcpu]
    assert_close(other(X), gated(X))


@pytest.mark.parametrize("mtriple", ["aarch64-linux-gnu", "riscv64-linux-gnu"])
def test_other_architectures_compile_but_do_not_run_here(mtriple):
    if mtriple.startswith(platform.machine()):
        pytest.skip("this machine runs it")
    artifact = build(mobile(), {"kind": "llvm", "mtriple": mtriple}, HALF, random_calibration(mobile(), HALF))
    with pytest.raises(UnsupportedTargetError) as raised:
        artifact(np.zeros((1, 3, 10, 10), np.float32))
    assert "\n" not in str(raised.value)


def test_what_an_artifact_knows_of_itself(gated):
    assert gated.inputs == (TensorSpec("x", (1, 3, 8, 8), "float32"),)
    assert gated.outputs == (TensorSpec("output0", (1, 5), "float32"),)
    assert gated.plan == HALF
    assert [layer.name for layer in gated.layers] == ["conv0", "conv1", "conv2", "fc"]
    assert [layer.active_channels for layer in gated.layers] == [8, 8, 8, 5]
    assert gated.report == ("fc: not gated: only convolutions are gated",)
    assert gated.target["kind"] == "llvm"


def test_winograd_is_reported_and_can_be_refused():
    mod = plain(channels=64, size=16)
    x = np.random.default_rng(1).standard_normal((1, 3, 16, 16), np.float32)
    fast, direct = build(mod), build(mod, plan=Plan(winograd=False))
    assert_close(fast(x), direct(x))
    (remark,) = fast.report
    assert remark.startswith("conv1, conv2: computed by winograd, rounding errors up to about 6 times")
    assert direct.report == ()


def test_several_outputs_come_in_order():
    artifact = build(unusual())
    logits, grouped = artifact(np.zeros((1, 3, 8, 11), np.float32))
    assert [spec.shape for spec in artifact.outputs] == [logits.shape, grouped.shape] == [(1, 5), (1, 64, 8, 11)]


def test_outputs_belong_to_the_caller():
    """An output that is an input or a constant is copied: writing to it changes no later run."""
    x, one = relax.Var("x", relax.TensorType((2, 3), "float32")), relax.const(np.ones((2, 3), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            outputs = [builder.emit(relax.op.add(one, one)), builder.emit(relax.op.reshape(x, (6,))), x]
            result = builder.emit_output(relax.Tuple(outputs))
        builder.emit_func_output(result)
    artifact = build(builder.get())
    given = np.arange(6, dtype=np.float32).reshape(2, 3)
    for output in artifact(given):
        output[:] = -1
    constant, flat, same = artifact(given)
    np.testing.assert_array_equal(constant, np.full((2, 3), 2))
    np.testing.assert_array_equal(flat, np.arange(6))
    np.testing.assert_array_equal(same, np.arange(6).reshape(2, 3))


def test_what_is_no_dataflow_is_kept_between_layers():
    """Such as the checks that torch puts before an operator: they may not be moved."""
    x = relax.Var("x", relax.TensorType((1, 3, 8, 8), "float32"))
    weights = [relax.const(np.full((8, channels, 3, 3), 0.1, "float32")) for channels in (3, 8)]
    builder = relax.BlockBuilder()
    with builder.function("main", [x], pure=False):
        y = builder.emit(relax.op.nn.relu(builder.emit(relax.op.nn.conv2d(x, weights[0], padding=1))))
        builder.emit(relax.op.assert_op(relax.const(True), format="never"))
        builder.emit_func_output(builder.emit(relax.op.nn.conv2d(y, weights[1], padding=1)))
    mod = builder.get()
    assert_close(build(mod)(X), run_stock(mod, X)[0])


def test_an_input_without_axes():
    x, factor = (
        relax.Var("x", relax.TensorType((2, 3), "float32")),
        relax.Var("factor", relax.TensorType((), "float32")),
    )
    builder = relax.BlockBuilder()
    with builder.function("main", [x, factor]):
        with builder.dataflow():
            result = builder.emit_output(relax.op.multiply(x, factor))
        builder.emit_func_output(result)
    given = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(build(builder.get())(given, np.float32(2.5)), 2.5 * given)


def test_saving_prints_nothing(gated, tmp_path, capfd):
    gated.save(tmp_path / "out")
    assert capfd.readouterr() == ("", "")


def test_saved_and_loaded_it_computes_the_same_bits(gated, tmp_path):
    gated.save(tmp_path / "artifact")
    loaded = espalier.load(tmp_path / "artifact")
    np.testing.assert_array_equal(loaded(X), gated(X))
    assert (loaded.layers, loaded.report, loaded.plan) == (gated.layers, gated.report, gated.plan)
    assert (loaded.inputs, loaded.outputs, loaded.target) == (gated.inputs, gated.outputs, gated.target)
    loaded.save(tmp_path / "again")
    np.testing.assert_array_equal(espalier.load(tmp_path / "again")(X), gated(X))


def test_a_folder_that_was_written_again_gives_what_lies_in_it(gated, tmp_path):
    """Also while what was loaded from it before is in use, which goes on as it was."""
    dense = build(plain(), "llvm")
    results = []
    for artifact in (gated, dense, gated):
        artifact.save(tmp_path / "artifact")
        results.append(espalier.load(tmp_path / "artifact"))
    for loaded, artifact in zip(results, (gated, dense, gated), strict=True):
        np.testing.assert_array_equal(loaded(X), artifact(X))


@pytest.mark.parametrize("name", ["program.so", "program.json", "artifact.json"])
@pytest.mark.parametrize("harm", ["truncated", "missing"])
def test_damaged_artifacts_are_refused(gated, tmp_path, name, harm):
    gated.save(tmp_path / "artifact")
    file = tmp_path / "artifact" / name
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CorruptArtifactError) as raised:
        espalier.load(tmp_path / "artifact")
    assert "\n" not in str(raised.value)


def test_profiles_name_every_layer(gated):
    measurement = gated.profile(X, repeats=2)
    assert [one.layer.name for one in measurement.layers] == ["conv0", "conv1", "conv2", "fc"]
    assert all(one.latency_s > 0 for one in measurement.layers)
    assert measurement.macs < measurement.macs_dense == sum(layer.macs_dense for layer in gated.layers)


def test_a_calibration_is_no_part_of_a_dense_build():
    calibration = random_calibration(plain(), HALF)
    assert_close(build(plain(), calibration=calibration)(X), build(plain())(X))


def test_layer_names_are_what_a_plan_may_name():
    assert espalier.layer_names(plain()) == ["conv0", "conv1", "conv2", "fc"]


def gates_of_one_channel() -> Calibration:
    gate = Gate(np.ones((1, 1), np.float32), np.ones(1, np.float32))
    return Calibration({f"conv{number}": gate for number in range(3)})


REFUSED = {
    "an unknown layer": (Plan(layers={"conv7": {"density": 0.5}}), None, InvalidPlanError, "'conv7'.*'conv0'"),
    "no gates": (HALF, None, InvalidPlanError, "'conv0': a density below 1 needs gates"),
    "gates of another shape": (
        HALF,
        gates_of_one_channel(),
        InvalidInputError,
        r"phi is \[1, 1\], accepted is \[3, 16\]",
    ),
    "a granularity that does not divide": (
        Plan(layers={"conv1": {"density": 0.5, "granularity": 16}}),
        random_calibration(plain(20), Plan()),
        InvalidPlanError,
        "granularity 16 does not divide its 20 channels",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_plans(case):
    plan, calibration, error, message = REFUSED[case]
    with pytest.raises(error, match=message) as raised:
        build(plain(20 if "divide" in case else 16), "llvm", plan, calibration)
    assert "\n" not in str(raised.value)


def test_modules_without_main_or_with_dynamic_shapes_are_refused():
    n, x = relax.Var("n", relax.ShapeType(ndim=1)), relax.Var("x", relax.TensorType(ndim=2, dtype="float32"))
    g = Graph(1, 3, 8, 8)
    dynamic = g.module(g.relu(g.x))
    dynamic.update_func(
        dynamic.get_global_var("main"), relax.Function([x], x, relax.TensorType(ndim=2, dtype="float32"))
    )
    for mod in (None, "model.onnx", n, dynamic):
        with pytest.raises(InvalidModelError) as raised:
            build(mod)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("first", ["import espalier.build", "from espalier.build import prepare", "espalier.calibrate"])
def test_the_function_build_is_not_hidden_by_its_module(first):
    """In a fresh process: what was imported before must not matter."""
    code = f"import espalier; {first}; import espalier; assert callable(espalier.build)"
    subprocess.run([sys.executable, "-c", code], check=True)
