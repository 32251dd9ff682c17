"""Fine-grained pruning of weights while they are trained: small ones are 0, and come back where others get smaller.

How many weights each layer keeps follows from one share for the network and the layers' own weights: magnitudes are
compared by what is left of their layer without them (LAMP), so small and sensitive layers keep more. The masks are
decided again from time to time. Unlike in dynamic network surgery zeros do not learn on in the meantime: with nothing
to hold them back they grew and took the places of weights that were needed, anew at each decision.

References
    Guo et al., Dynamic Network Surgery for Efficient DNNs, NeurIPS 2016, section 3.2.
    Lee et al., Layer-Adaptive Sparsity for the Magnitude-Based Pruning, ICLR 2021, section 3.
    Zhu and Gupta, To Prune, or Not to Prune, ICLR 2018 workshop: the share rises fast first, then slowly.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize


class WeightMask(nn.Module):
    """A weight with zeros, as a parametrization of the layer that has it. kept: bool, shaped as the weight.

    The zeros have no gradient; behind them lie the values with which they come back.
    """

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.register_buffer("kept", torch.ones_like(weight, dtype=torch.bool))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight, 0 where it is not kept."""
        return weight * self.kept


def insert_masks(model: nn.Module) -> None:
    """Let the weights of all convolutions and dense layers have zeros; in place, none at first."""
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            mask = WeightMask(module.weight).train(module.training)
            parametrize.register_parametrization(module, "weight", mask)


@torch.no_grad()
def update_masks(model: nn.Module, share: float) -> None:
    """Choose anew which weights are 0: this share of all weights with masks, rounded down, in [0, 1).

    Those with the smallest LAMP scores; of equal ones any. The largest weight of each layer has the highest score, 1.
    """
    chains = [one.parametrizations.weight for one in model.modules() if parametrize.is_parametrized(one, "weight")]
    scores = [lamp_scores(chain.original) for chain in chains]
    together = torch.cat([one.flatten() for one in scores])
    pruned = together.argsort()[: int(share * len(together))]
    kept = torch.ones_like(together, dtype=torch.bool)
    kept[pruned] = False
    for chain, part in zip(chains, kept.split([one.numel() for one in scores])):
        chain[0].kept.copy_(part.view(chain.original.shape))


def lamp_scores(weight: torch.Tensor) -> torch.Tensor:
    """float64, shaped as the weight: the square of each, over the sum of the squares that are not smaller than it."""
    squares = weight.detach().double().square().flatten()
    ordered, order = squares.sort(descending=True, stable=True)
    scores = torch.empty_like(squares)
    scores[order] = ordered / ordered.cumsum(0).clamp(min=torch.finfo(torch.float64).tiny)
    return scores.view(weight.shape)
