"""Activations and gates that compute, while they are trained, with the numbers of the integer program.

A value becomes the nearest of its numbers; the gradient is 1 between the lowest and the highest of them and 0 outside.
Numbers come from ranges that were observed before the training, and stay.
"""

from __future__ import annotations

import torch
from torch import nn

from ..passes.quantize.scales import Numbers
from .gates import ChannelGate
from .straight_through import rounded

MOST_SIGNED = 127


class ActivationQuantizer(nn.Module):
    """scale * (clip(round(x / scale) + zero, 0, top) - zero), of any shape."""

    def __init__(self, numbers: Numbers):
        super().__init__()
        self.numbers = numbers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """In float32, whatever x is."""
        numbers = self.numbers
        return rounded(x.float(), numbers.scale, -numbers.zero, numbers.top - numbers.zero)

    def extra_repr(self) -> str:
        return f"{self.numbers}"


class QuantizedGate(ChannelGate):
    """A gate whose means and pi are uint8 and whose phi is int8; rho has the steps of the sums, which are fine.

    gate: whose parameters it shares. mean, pi: the numbers of both.
    """

    def __init__(self, gate: ChannelGate, mean: Numbers, pi: Numbers):
        super().__init__(*gate.phi.shape, gate.granularity, gate.density)
        self.kept, self.phi, self.rho = gate.kept, gate.phi, gate.rho
        self.mean, self.pi = ActivationQuantizer(mean), ActivationQuantizer(pi)

    def saliencies(self, mean: torch.Tensor) -> torch.Tensor:
        """As in ChannelGate, of rounded means and weights."""
        step = (self.phi.detach().abs().max().item() or 1.0) / MOST_SIGNED
        phi = rounded(self.phi, step, -MOST_SIGNED, MOST_SIGNED)
        return torch.relu(self.mean(mean) @ phi + self.rho)

    def boosts(self, saliency: torch.Tensor) -> torch.Tensor:
        """Rounded saliencies."""
        return self.pi(saliency)
