"""espalier.training.activation_quantizers: the numbers of the integer program, and gradients that are clipped."""

import pytest

torch = pytest.importorskip("torch")

from espalier.passes.quantize.scales import Numbers  # noqa: E402
from espalier.training.activation_quantizers import ActivationQuantizer, QuantizedGate  # noqa: E402
from espalier.training.gates import ChannelGate  # noqa: E402


def test_values_and_gradients():
    x = torch.tensor([-1.0, -0.5, -0.2, 0.0, 0.3, 0.6, 6.5, 6.9], requires_grad=True)
    got = ActivationQuantizer(Numbers(0.5, 1, 15))(x)
    assert got.tolist() == [-0.5, -0.5, 0, 0, 0.5, 0.5, 6.5, 7]
    got.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 1, 1, 1]


def test_what_is_beyond_the_numbers_has_no_gradient():
    x = torch.tensor([1.0, 9.0], requires_grad=True)
    ActivationQuantizer(Numbers(0.5, 0, 15))(x).sum().backward()
    assert x.grad.tolist() == [1, 0]


def test_a_gate_has_the_parameters_of_the_float_one_and_rounded_values():
    generator = torch.Generator().manual_seed(0)
    gate = ChannelGate(4, 8, 2, 0.5)
    gate.kept = 2
    with torch.no_grad():
        gate.phi.normal_(generator=generator)
    quantized = QuantizedGate(gate, Numbers(1 / 255, 0, 255), Numbers(4 / 255, 0, 255))
    assert quantized.phi is gate.phi
    assert quantized.rho is gate.rho
    x = torch.rand(16, 4, 5, 5, generator=generator)
    (pi, mask), (real_pi, _) = quantized(x), gate(x)
    steps = pi.detach() * 255 / 4
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    assert mask.sum(1).tolist() == [4.0] * 16
    both = (pi > 0) & (real_pi > 0)
    torch.testing.assert_close(pi[both], real_pi[both], rtol=0, atol=0.05)
    pi.sum().backward()
    assert gate.phi.grad.abs().sum() > 0
