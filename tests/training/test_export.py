"""Gated networks through torch.export and through ONNX: the compiled network is the trained one."""

import io

import numpy as np
import onnx
import pytest
from models import onnxruntime_outputs

import espalier
from espalier import Plan
from espalier.build import prepare
from espalier.core import ir_names
from espalier.core.errors import InvalidInputError, InvalidModelError, InvalidPlanError
from espalier.ir.dataflow import Dataflow, constant

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from training_networks import Chain, Mobile, Residual, draw_gates, example, network  # noqa: E402

from espalier.training.export import export_onnx  # noqa: E402
from espalier.training.gates import gates_of, insert_gates, set_density  # noqa: E402


def gated_network(kind=Chain, plan: Plan = Plan(density=0.5), density: float = 0.1):
    gated = draw_gates(insert_gates(network(kind), plan, example()))
    set_density(gated, density)
    return gated


def through_torch(gated, x, _folder):
    return espalier.from_torch(torch.export.export(gated, (x,)))


def through_onnx(gated, x, folder):
    export_onnx(gated, x, folder / "gated.onnx")
    return espalier.from_onnx(folder / "gated.onnx")


WAYS = pytest.mark.parametrize("way", [through_torch, through_onnx])
PLANS = pytest.mark.parametrize(
    ("kind", "plan"),
    [
        (Chain, Plan(density=0.5)),
        (Chain, Plan(density=0.5, granularity=1)),
        (Chain, Plan(density=0.7, granularity=4, layers={"conv1": {"density": 0.25}})),
        (Residual, Plan(density=0.5)),
        (Residual, Plan(density=0.5, placement="branch")),
        (Residual, Plan(density=0.5, placement="sum")),
        (Mobile, Plan(density=0.5)),
    ],
)


def assert_computes(got: np.ndarray, gated, x) -> None:
    with torch.no_grad():
        expected = gated(x).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(got.argmax(1), expected.argmax(1))


@WAYS
@PLANS
def test_the_compiled_network_is_the_trained_one(way, kind, plan, tmp_path):
    gated, x = gated_network(kind, plan), example(4)
    mod = way(gated, x, tmp_path)
    assert_computes(espalier.build(mod)(x.numpy()), gated, x)
    assert_computes(espalier.build(mod, lower=False)(x.numpy()), gated, x)


@WAYS
@PLANS
def test_gates_are_recovered_exactly(way, kind, plan, tmp_path):
    gated = gated_network(kind, plan)
    found = Dataflow.of(prepare(way(gated, example(), tmp_path)))
    layers = [layer for layer in map(found.layer_of, found.values) if layer]
    recovered = {spec.name: (spec, call) for name, spec, call in layers if name == ir_names.CHANNEL_GATE}
    assert recovered.keys() == gates_of(gated).keys()
    for name, gate in gates_of(gated).items():
        spec, call = recovered[name]
        assert (spec.mode, spec.granularity, spec.kept) == ("boost", gate.granularity, gate.kept)
        np.testing.assert_array_equal(constant(call.args[1]), gate.phi.detach())
        np.testing.assert_array_equal(constant(call.args[2]), gate.rho.detach())


@WAYS
@PLANS
def test_layers_are_gated_as_the_plan_would_gate_them(way, kind, plan, tmp_path):
    gated = gated_network(kind, plan)
    layers = espalier.build(way(gated, example(), tmp_path)).layers
    calibration = espalier.Calibration(
        {
            name: espalier.Gate(gate.phi.detach().numpy(), gate.rho.detach().numpy(), "boost")
            for name, gate in gates_of(gated).items()
        }
    )
    plain = espalier.from_torch(network(kind), example())
    assert layers == espalier.build(plain, plan=plan, calibration=calibration).layers


def test_both_ways_give_the_same_program(tmp_path):
    gated, x = gated_network(Residual, Plan(density=0.5, placement="sum")), example(4)
    one, other = (espalier.build(way(gated, x, tmp_path))(x.numpy()) for way in (through_torch, through_onnx))
    np.testing.assert_array_equal(one, other)


@PLANS
def test_onnxruntime_computes_the_file(kind, plan, tmp_path):
    gated, x = gated_network(kind, plan), example(4)
    through_onnx(gated, x, tmp_path)
    model = onnx.load(tmp_path / "gated.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert_computes(onnxruntime_outputs(model, x=x.numpy())[0], gated, x)


def test_the_files_function_keeps_the_lowest_group_of_a_tie(tmp_path):
    gated = insert_gates(network(Chain), Plan(density=0.5), example())  # every saliency is 1
    set_density(gated, 0.5)
    through_onnx(gated, example(), tmp_path)
    assert_computes(onnxruntime_outputs(onnx.load(tmp_path / "gated.onnx"), x=example().numpy())[0], gated, example())


@WAYS
def test_gates_that_keep_everything(way, tmp_path):
    gated, x = gated_network(density=1.0), example()
    artifact = espalier.build(way(gated, x, tmp_path))
    assert_computes(artifact(x.numpy()), gated, x)
    assert artifact.layers[1].active_channels == artifact.layers[1].channels


def test_a_saved_exported_program():
    gated, x, buffer = gated_network(), example(), io.BytesIO()
    torch.export.save(torch.export.export(gated, (x,)), buffer)
    buffer.seek(0)
    assert_computes(espalier.build(espalier.from_torch(torch.export.load(buffer)))(x.numpy()), gated, x)


def test_a_network_in_training_is_exported_as_for_inference(tmp_path):
    gated, x = gated_network().train(), example()
    mods = espalier.from_torch(gated, x), through_onnx(gated, x, tmp_path)
    assert gated.training
    gated.eval()
    for mod in mods:
        assert_computes(espalier.build(mod)(x.numpy()), gated, x)


def test_a_network_without_gates(tmp_path):
    plain, x = network(Chain), example()
    assert_computes(espalier.build(through_onnx(plain, x, tmp_path))(x.numpy()), plain, x)
    assert not onnx.load(tmp_path / "gated.onnx").functions


def test_a_network_that_torch_cannot_export(tmp_path):
    class Printing(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(InvalidModelError, match="torch.export cannot trace"):
        export_onnx(Printing(), example(), tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_a_plan_says_what_else_to_do():
    mod, x = espalier.from_torch(gated_network(), example()), example().numpy()
    artifact = espalier.build(mod, plan=Plan(density=0.5, weights="bfloat16", activations="bfloat16", winograd=False))
    np.testing.assert_allclose(artifact(x), espalier.build(mod)(x), rtol=0.1, atol=0.1)
    assert artifact.layers == espalier.build(mod).layers


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(density=0.75), "'conv0': density 0.75 in groups of 4, but its gate .* keeps 2 of 4 groups of 4"),
        (Plan(density=0.5, granularity=8), "'conv0': density 0.5 in groups of 8, but its gate came with the model"),
    ],
)
def test_a_plan_that_contradicts_the_gates(plan, message):
    with pytest.raises(InvalidPlanError, match=message):
        espalier.build(espalier.from_torch(gated_network(), example()), plan=plan)


def test_a_plan_that_gates_further_layers_needs_a_calibration():
    gated = gated_network(plan=Plan(layers={"conv1": {"density": 0.5}}))
    with pytest.raises(InvalidPlanError, match="'conv0': a density below 1 needs gates"):
        espalier.build(espalier.from_torch(gated, example()), plan=Plan(density=0.5))


def test_a_network_with_gates_is_not_calibrated():
    mod = espalier.from_torch(gated_network(), example())
    with pytest.raises(InvalidInputError, match="gate of layer 'conv0' came with the model"):
        espalier.calibrate(mod, np.zeros((16, 3, 8, 8), np.float32), Plan(density=0.5))
