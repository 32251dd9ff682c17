"""Gated networks through torch.export and through ONNX: the compiled network is the trained one."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm
from models import onnxruntime_outputs
from tvm import relax

import espalier
from espalier import Plan
from espalier.build import prepare
from espalier.core import ir_names
from espalier.core.errors import InvalidInputError, InvalidModelError, InvalidPlanError
from espalier.ir.dataflow import Dataflow, constant
from espalier.passes import pipeline
from espalier.passes.analysis.layer_table import layer_table

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from training_networks import Chain, Mobile, Residual, draw_gates, example, network  # noqa: E402

from espalier.training.exporting import export  # noqa: E402
from espalier.training.gates import gates_of, insert_gates, set_density  # noqa: E402
from espalier.training.onnx_export import export_onnx  # noqa: E402

HALF = Plan(density=0.5)


def gated_network(kind=Chain, plan: Plan = HALF, density: float = 0.1):
    gated = draw_gates(insert_gates(network(kind), plan, example()))
    set_density(gated, density)
    return gated


def through_torch(gated, x, _folder):
    return espalier.from_torch(torch.export.export(gated, (x,)))


def through_onnx(gated, x, folder):
    export_onnx(gated, x, folder / "gated.onnx")
    return espalier.from_onnx(folder / "gated.onnx")


KINDS = (
    (Chain, Plan(density=0.5, granularity=1)),
    (Chain, Plan(density=0.7, granularity=4, layers={"conv1": {"density": 0.25}})),
    (Residual, Plan(density=0.5)),
    (Residual, Plan(density=0.5, placement="branch")),
    (Residual, Plan(density=0.5, placement="sum")),
    (Mobile, Plan(density=0.5)),
)
WAYS = pytest.mark.parametrize("way", [through_torch, through_onnx])


def assert_computes(got: np.ndarray, gated, x) -> None:
    with torch.no_grad():
        expected = gated(x).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(got.argmax(1), expected.argmax(1))


@dataclass(frozen=True)
class Case:
    """A gated network, and what the frontends make of it."""

    kind: type
    plan: Plan
    gated: torch.nn.Module
    file: Path
    from_torch: tvm.IRModule
    from_onnx: tvm.IRModule


@pytest.fixture(scope="module", params=KINDS, ids=lambda one: f"{one[0].__name__}-{one[1].placement}")
def case(request, tmp_path_factory) -> Case:
    kind, plan = request.param
    gated, folder = gated_network(kind, plan), tmp_path_factory.mktemp("gated")
    mods = (way(gated, example(), folder) for way in (through_torch, through_onnx))
    return Case(kind, plan, gated, folder / "gated.onnx", *mods)


def test_the_compiled_network_is_the_trained_one(case):
    assert_computes(espalier.build(case.from_onnx)(example().numpy()), case.gated, example())


def test_an_exported_plan_and_calibration_are_the_trained_network_too(case):
    mod, plan, calibration = export(case.gated, example())
    assert plan.placement == case.plan.placement
    built = espalier.build(mod, plan=plan, calibration=calibration, lower=False)
    assert_computes(built(example().numpy()), case.gated, example())


def test_both_ways_lead_to_the_same_layers(case):
    one, other = prepare(case.from_torch), prepare(case.from_onnx)
    tvm.ir.assert_structural_equal(one["main"], other["main"], map_free_vars=True)
    assert layer_table(one) == layer_table(other)
    for mod in (one, other):
        assert_gates_are_those_of(mod, case.gated)


def assert_gates_are_those_of(prepared, gated) -> None:
    found = Dataflow.of(prepared)
    layers = [layer for layer in map(found.layer_of, found.values) if layer]
    recovered = {spec.name: (spec, call) for name, spec, call in layers if name == ir_names.CHANNEL_GATE}
    assert recovered.keys() == gates_of(gated).keys()
    for name, gate in gates_of(gated).items():
        spec, call = recovered[name]
        assert (spec.mode, spec.granularity, spec.kept) == ("boost", gate.granularity, gate.kept)
        np.testing.assert_array_equal(constant(call.args[1]), gate.phi.detach())
        np.testing.assert_array_equal(constant(call.args[2]), gate.rho.detach())


def test_layers_are_gated_as_the_plan_would_gate_them(case):
    gates = {
        name: espalier.Gate(gate.phi.detach().numpy(), gate.rho.detach().numpy(), "boost")
        for name, gate in gates_of(case.gated).items()
    }
    planned = pruned(espalier.from_torch(network(case.kind), example()), case.plan, espalier.Calibration(gates))
    assert layer_table(pruned(case.from_torch, Plan(), espalier.Calibration())) == layer_table(planned)


def pruned(mod, plan: Plan, calibration: espalier.Calibration):
    return pipeline.apply(prepare(mod), pipeline.prune_phase(plan, calibration))


def test_onnxruntime_computes_the_file(case):
    model = onnx.load(case.file)
    onnx.checker.check_model(model, full_check=True)
    assert_computes(onnxruntime_outputs(model, x=example().numpy())[0], case.gated, example())


def test_tvm_alone_computes_the_network_too():
    gated, x = gated_network(Residual, Plan(density=0.5, placement="sum")), example()
    machine = relax.VirtualMachine(tvm.compile(espalier.from_torch(gated, x), "llvm"), tvm.cpu())
    assert_computes(machine["main"](tvm.runtime.tensor(x.numpy())).numpy(), gated, x)


def test_the_files_function_keeps_the_lowest_group_of_a_tie(tmp_path):
    gated = insert_gates(network(Chain), Plan(density=0.5), example())  # every saliency is 1
    set_density(gated, 0.5)
    through_onnx(gated, example(), tmp_path)
    assert_computes(onnxruntime_outputs(onnx.load(tmp_path / "gated.onnx"), x=example().numpy())[0], gated, example())


def test_gates_that_keep_everything():
    gated, x = gated_network(density=1.0), example()
    artifact = espalier.build(espalier.from_torch(gated, x))
    assert_computes(artifact(x.numpy()), gated, x)
    assert artifact.layers[1].active_channels == artifact.layers[1].channels


def test_a_saved_exported_program(tmp_path):
    gated, x, buffer = gated_network(), example(), io.BytesIO()
    torch.export.save(torch.export.export(gated, (x,)), buffer)
    buffer.seek(0)
    assert_gates_are_those_of(prepare(espalier.from_torch(torch.export.load(buffer))), gated)


@WAYS
def test_a_network_in_training_is_exported_as_for_inference(way, tmp_path):
    gated = gated_network(Residual).train()
    mod = espalier.from_torch(gated, example()) if way is through_torch else way(gated, example(), tmp_path)
    assert gated.training
    assert_gates_are_those_of(prepare(mod), gated)


def test_a_network_without_gates(tmp_path):
    through_onnx(network(Chain), example(), tmp_path)
    model = onnx.load(tmp_path / "gated.onnx")
    assert_computes(onnxruntime_outputs(model, x=example().numpy())[0], network(Chain), example())
    assert not model.functions


def test_a_network_that_torch_cannot_export(tmp_path):
    class Printing(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(InvalidModelError, match="torch.export cannot trace"):
        export_onnx(Printing(), example(), tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_a_plan_says_what_else_to_do():
    gated, x = gated_network(), example()
    plan = Plan(density=0.5, weights="bfloat16", activations="bfloat16")
    artifact = espalier.build(espalier.from_torch(gated, x), plan=plan)
    with torch.no_grad():
        np.testing.assert_allclose(artifact(x.numpy()), gated(x), rtol=0.05, atol=0.05)
    assert [layer.gate for layer in artifact.layers] == ["output", "output", "output", "none"]


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


def test_the_file_names_no_folder_of_this_machine(tmp_path):
    export_onnx(gated_network(), example(), tmp_path / "gated.onnx")
    content = (tmp_path / "gated.onnx").read_bytes()
    assert b"conv0" in content
    assert b".py" not in content
    assert str(Path(torch.__file__).parent).encode() not in content
