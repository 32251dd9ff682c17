"""Fine-grained pruning of weights while they are trained: small ones are 0, and come back where they grow.

References
    Guo et al., Dynamic Network Surgery for Efficient DNNs, NeurIPS 2016, section 3.2.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

RISES, FALLS = 1.1, 0.9
"""A weight is there above so many times the threshold, and is not below so many; in between it stays what it was."""


class WeightMask(nn.Module):
    """A weight with zeros, as a parametrization of the layer that has it. kept: bool, shaped as the weight.

    The zeros get a gradient too, as if they were there: that is how they come back.
    """

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.register_buffer("kept", torch.ones_like(weight, dtype=torch.bool))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight, 0 where it is not kept."""
        return weight - (weight * ~self.kept).detach()

    @torch.no_grad()
    def update(self, weight: torch.Tensor, deviations: float) -> None:
        """Decide again, by the threshold t = mean|w| + deviations * std|w| of the layer's weights."""
        size = weight.abs()
        threshold = size.mean() + deviations * size.std(correction=0)
        self.kept.copy_((self.kept | (size > RISES * threshold)) & (size >= FALLS * threshold))


def insert_masks(model: nn.Module) -> None:
    """Let the weights of all convolutions and dense layers have zeros; in place, none at first."""
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            mask = WeightMask(module.weight).train(module.training)
            parametrize.register_parametrization(module, "weight", mask)


def update_masks(model: nn.Module, deviations: float) -> None:
    """Choose anew which weights are kept, in every layer."""
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            chain = module.parametrizations.weight
            chain[0].update(chain.original, deviations)
