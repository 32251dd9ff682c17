"""espalier.training.export: the compiled network is the trained one."""

import numpy as np
import pytest

import espalier
from espalier import Plan
from espalier.core.errors import InvalidModelError, InvalidPlanError

torch = pytest.importorskip("torch")

from training_networks import Chain, Mobile, Residual, draw_gates, example, network  # noqa: E402

from espalier.training.export import export  # noqa: E402
from espalier.training.gates import gates_of, insert_gates, set_density  # noqa: E402


def gated_network(kind, plan: Plan):
    gated = draw_gates(insert_gates(network(kind), plan, example()))
    set_density(gated, 0.1)
    return gated


@pytest.mark.parametrize(
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
@pytest.mark.parametrize("lower", [True, False])
def test_the_compiled_network_is_the_trained_one(kind, plan, lower):
    gated, x = gated_network(kind, plan), example(4)
    mod, exported, calibration = export(gated, x)
    got = espalier.build(mod, plan=exported, calibration=calibration, lower=lower)(x.numpy())
    with torch.no_grad():
        expected = gated(x).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(got.argmax(1), expected.argmax(1))


def test_gates_and_densities_are_kept_exactly():
    gated = gated_network(Chain, Plan(density=0.6, granularity=4, winograd=False))
    _, plan, calibration = export(gated, example())
    for name, gate in gates_of(gated).items():
        assert calibration.gates[name].mode == "boost"
        np.testing.assert_array_equal(calibration.gates[name].phi, gate.phi.detach())
        np.testing.assert_array_equal(calibration.gates[name].rho, gate.rho.detach())
        assert plan.layer(name).density * 16 == 4 * gate.kept == 12
        assert plan.layer(name).granularity == 4
    assert plan.winograd is False


def test_a_network_in_training_is_exported_as_for_inference():
    gated = gated_network(Chain, Plan(density=0.5)).train()
    mod, plan, calibration = export(gated, example())
    assert gated.training
    got = espalier.build(mod, plan=plan, calibration=calibration)(example().numpy())
    with torch.no_grad():
        np.testing.assert_allclose(got, gated.eval()(example()), rtol=1e-4, atol=1e-4)


def test_a_gate_that_keeps_everything():
    with pytest.raises(InvalidPlanError, match="'conv0': its gate keeps all 4 groups.*set_density"):
        export(insert_gates(network(Chain), Plan(density=0.5), example()), example())


def test_a_network_without_gates():
    with pytest.raises(InvalidModelError, match="has no channel gates"):
        export(network(Chain), example())
