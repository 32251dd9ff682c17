"""espalier.training.quantizers: what is inserted where, and the integers that come of it, bit for bit."""

import dataclasses

import numpy as np
import pytest
from oracles.integer_programs import run_program

import espalier
from espalier import Plan
from espalier.core.errors import InvalidModelError, InvalidPlanError
from espalier.core.formats import parse_format
from espalier.passes.quantize.fitting.fit import fit

torch = pytest.importorskip("torch")

from training_networks import Chain, Mobile, Residual, draw_gates, example, network  # noqa: E402

from espalier.build import planned  # noqa: E402
from espalier.training.exporting import export  # noqa: E402
from espalier.training.gates import found_gates, insert_gates, set_density  # noqa: E402
from espalier.training.integer_eval import IntegerNetwork  # noqa: E402
from espalier.training.quantizers import insert_quantizers, settle  # noqa: E402
from espalier.training.weight_quantizer import weight_quantizers  # noqa: E402


class Pooled(Chain):
    """Without an operator that stays in float32, but with a max pool and an activation that is limited above."""

    def forward(self, x):
        x = self.pool(torch.relu(self.dropout(self.bn0(self.conv0(x)))))
        x = self.relu6(self.bn1(self.conv1(x)))
        return self.linear(torch.relu(self.conv2(x)).mean((2, 3)))


def float_network(kind, plan: Plan):
    if plan.density == 1:
        return network(kind)
    gated = draw_gates(insert_gates(network(kind), plan, example()))
    set_density(gated, plan.density)
    return gated


def quantized_network(kind, plan: Plan, **options):
    return insert_quantizers(float_network(kind, plan), plan, example(32), **options)


def trained(model, steps: int = 2):
    """The same network after so many steps towards drawn labels."""
    optimizer = torch.optim.SGD(model.parameters(), 0.02, 0.9)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(example(16)), torch.arange(16) % 10).backward()
        optimizer.step()
    return model


GATED = Plan(density=0.5, granularity=4, weights="focused<5>")


@pytest.mark.parametrize(
    ("kind", "plan"),
    [
        (Pooled, Plan(weights="uniform<8>")),
        (Pooled, Plan(weights="codebook<4>", activations="uniform<4>", layers={"conv0": {"weights": "float32"}})),
        (Pooled, Plan(density=0.5, granularity=1, weights="focused<5>")),
        (Residual, dataclasses.replace(GATED, placement="branch")),
        (Residual, dataclasses.replace(GATED, placement="sum", weights="shift<4>")),
        (Mobile, GATED),
    ],
)
def test_torch_evaluates_the_integers_that_are_exported(kind, plan):
    model, x = trained(quantized_network(kind, plan)), example(8)
    mod, exported, calibration = export(model, x)
    expected = run_program(planned(mod, exported, calibration), x.numpy())
    got = IntegerNetwork.of(model, x[:1])(x).numpy()  # a program for one sample, called with eight
    if "conv0" in plan.layers:
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(got, expected)
    assert len(np.unique(got.round(4), axis=0)) == 8


def test_a_network_with_gates_alone_is_exported_too():
    model, x = float_network(Residual, Plan(density=0.5, granularity=1)).eval(), example(2)
    mod, exported, calibration = export(model, x)
    assert exported.layers
    got = espalier.build(mod, plan=exported, calibration=calibration, lower=False)(x.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(got, model(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lower", [False, True])
def test_the_compiled_program_has_the_integers_that_torch_evaluated(lower):
    plan, x = dataclasses.replace(GATED, placement="branch"), example(4)
    model = trained(quantized_network(Residual, plan))
    mod, exported, calibration = export(model, x)
    program = espalier.build(mod, plan=exported, calibration=calibration, lower=lower)
    np.testing.assert_array_equal(program(x.numpy()), IntegerNetwork.of(model, x)(x))


@pytest.mark.parametrize("plan", [Plan(weights="uniform<8>"), dataclasses.replace(GATED, weights="uniform<8>")])
def test_the_network_in_training_is_close_to_its_integer_program(plan):
    model, x = quantized_network(Residual, plan), example(16)
    with torch.no_grad():
        got, real = model(x).numpy(), float_network(Residual, plan)(x).numpy()
    integer = IntegerNetwork.of(model, x)(x).numpy()
    spread = real.std()
    assert np.abs(got - integer).mean() < 0.02 * spread
    assert np.abs(integer - real).mean() < 0.1 * spread


def test_codes_are_those_of_the_folded_weights():
    model = quantized_network(Chain, Plan(weights="focused<5>"))
    original = network(Chain)
    norm = original.bn1
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    folded = (original.conv1.weight * scale.view(-1, 1, 1, 1)).detach().numpy()
    fitted = fit(folded, parse_format("focused<5>"))
    np.testing.assert_allclose(model.conv1.weight.detach(), fitted.dequantized(), rtol=1e-4, atol=1e-6)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    _, _, calibration = export(model, example())
    assert list(calibration.quantized) == ["conv0", "conv1", "conv2", "linear"]
    for name, codes in calibration.quantized.items():
        np.testing.assert_array_equal(codes.dequantized(), model.get_submodule(name).weight.detach())


def test_pruned_weights_stay_zero_while_the_others_are_trained():
    plain = network(Residual)
    with torch.no_grad():
        plain.block1.conv1.weight[plain.block1.conv1.weight.abs() < 0.05] = 0
    model = insert_quantizers(plain, Plan(weights="shift<4>"), example(32))
    latent = weight_quantizers(model)["block1.conv1"][1]
    before, zeros = latent.detach().clone(), plain.block1.conv1.weight == 0
    trained(model)
    assert not latent[zeros].any()
    _, _, calibration = export(model, example())
    assert not calibration.quantized["block1.conv1"].integers[zeros.numpy()].any()
    assert (latent[~zeros] != before[~zeros]).float().mean() > 0.5


def test_incremental_quantization_of_a_network():
    model = quantized_network(Chain, Plan(weights="shift<4>"), is_incremental=True)
    settle(model, 0.5)
    quantizers = weight_quantizers(model)
    settled = {name: model.get_submodule(name).weight.detach()[one.settled] for name, (one, _) in quantizers.items()}
    trained(model)
    for name, (one, weight) in quantizers.items():
        assert int(one.settled.sum()) == round(0.5 * weight.numel())
        assert torch.equal(model.get_submodule(name).weight[one.settled], settled[name])
    settle(model, 1.0)
    x, trained_bias = example(8), model.conv0.bias.detach().clone()
    expected = model.eval()(x)
    trained(model)
    assert not torch.equal(model.conv0.bias, trained_bias)
    for name, (one, weight) in quantizers.items():
        fixed = one.settled_levels * one.scale.view(-1, *[1] * (weight.ndim - 1))
        assert torch.equal(model.get_submodule(name).weight, fixed)
    assert not torch.equal(model.eval()(x), expected)


def test_the_first_and_the_last_layer_have_formats_of_their_own():
    plan = dataclasses.replace(GATED, first={"density": 1.0, "weights": "uniform<8>"}, last={"weights": "shift<4>"})
    _, exported, calibration = export(quantized_network(Residual, plan), example())
    formats = {name: str(codes.format) for name, codes in calibration.quantized.items()}
    assert formats.pop("stem") == "uniform<8>"
    assert formats.pop("linear") == "shift<4>"
    assert set(formats.values()) == {"focused<5>"}
    assert exported.layers["stem"] == {"density": 1.0, "weights": "uniform<8>"}


def test_what_is_trained():
    model = quantized_network(Residual, GATED)
    names = {name for name, one in model.named_parameters() if one.requires_grad}
    layers = {"stem", "linear", *(f"block{i}.conv{j}" for i in (1, 2) for j in (1, 2)), "block2.shortcut"}
    assert {f"{name}.parametrizations.weight.original" for name in layers} <= names
    assert {f"{name}.bias" for name in layers} <= names
    assert {f"gates.{name}.{one}" for name in found_gates(model) for one in ("phi", "rho")} <= names
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    trained(model)
    assert [name for name, one in model.named_parameters() if torch.equal(one, before[name])] == []


def test_a_plan_that_quantizes_nothing():
    with pytest.raises(
        InvalidPlanError, match="it quantizes no layer of this network; give weights such as uniform<8>"
    ):
        insert_quantizers(network(Chain), Plan(), example(32))


def test_a_network_that_is_neither_gated_nor_quantized():
    with pytest.raises(InvalidModelError, match="no channel gates and no quantizers"):
        export(torch.fx.symbolic_trace(network(Chain)), example())


def test_gates_that_keep_everything():
    gated = insert_gates(network(Chain), GATED, example())
    with pytest.raises(InvalidPlanError, match="its gate keeps all 4 groups.*set_density"):
        insert_quantizers(gated, GATED, example(32))
