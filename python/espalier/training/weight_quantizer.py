"""Weights that are trained while the network computes with their quantized values.

The forward pass has the levels that the compiler would store, the backward pass the gradient as if nothing had been
rounded (the straight-through estimator). A format is fitted once, to the weights that a training begins with: from
there on each weight takes the nearest level, and the scales of the channels learn as step sizes do. Fitting anew to the
latent weights would throw away what was learned, for they wander where the levels do not follow; beyond the outer
levels they have no gradient, so that they stay near.

In incremental quantization the largest weights of a layer are fixed at their levels, a part at a time, and the others
are trained as they are until their turn comes.

References
    Esser et al., Learned Step Size Quantization, ICLR 2020, sections 2.1 and 2.2.
    Zhou et al., Incremental Network Quantization, ICLR 2017.
    Zhao et al., Focused Quantization for Sparse CNNs, NeurIPS 2019, section 3.3.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from ..core.formats import Fixed, Format
from ..core.quantized_weights import QuantizedWeights
from ..passes.quantize.fitting.fit import fit
from .straight_through import straight_through


class WeightQuantizer(nn.Module):
    """The quantized value of a weight [C_out, ...], as a parametrization of the layer that has it.

    levels: int16 [format.level_count], ascending, the last one repeated where there are fewer. scale: float32 [C_out],
    a parameter, which learns unless the format has its own.
    components: int16 [2, 2], as in QuantizedWeights, zeros where there are none.
    kept: bool, shaped as the weight; the others are 0 and stay it: those that were exactly 0 when it was made.
    settled: bool, shaped as the weight, those that are fixed; settled_levels: int8, the levels they have.
    is_incremental: whether weights that are not fixed are left as they are while training; all are quantized otherwise.
    """

    def __init__(self, fmt: Format, weight: torch.Tensor, is_incremental: bool = False):
        super().__init__()
        self.format, self.is_incremental = fmt, is_incremental
        self.register_buffer("levels", torch.zeros(fmt.level_count, dtype=torch.int16))
        self.scale = nn.Parameter(torch.ones(len(weight), dtype=torch.float32), not isinstance(fmt, Fixed))
        self.register_buffer("components", torch.zeros(2, 2, dtype=torch.int16))
        self.register_buffer("kept", weight.detach() != 0)
        self.register_buffer("settled", torch.zeros_like(weight, dtype=torch.bool))
        self.register_buffer("settled_levels", torch.zeros_like(weight, dtype=torch.int8))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The levels of the weight times the scale of their channel, in float32: each product is rounded once."""
        if self.is_incremental and self.training:
            quantized = self.integers(weight.detach()) * self._scales(weight).detach()
            return torch.where(self.settled, quantized, weight * self.kept)
        scale = self._scales(weight)
        slowed = self._slowness() * scale
        scale = straight_through(slowed, scale.detach())
        limited = (weight / scale).clamp(*self._reach()) * self.kept
        return straight_through(limited, self.integers(weight.detach())) * scale

    def integers(self, weight: torch.Tensor) -> torch.Tensor:
        """float32, shaped as the weight: the nearest levels; ties go to the greater, as in the compiler's fit."""
        levels = self.levels.float()
        scaled = (weight / self._scales(weight).detach()).contiguous()  # whatever the memory format of the network
        nearest = levels[torch.bucketize(scaled, (levels[1:] + levels[:-1]) / 2, right=True)]
        return torch.where(self.settled, self.settled_levels.float(), nearest * self.kept)

    @torch.no_grad()
    def fit_to(self, weight: torch.Tensor) -> None:
        """Fit the format's levels and scales to the weight as it is now; not once weights are fixed.

        Raises InvalidInputError where the format cannot represent the weight.
        """
        mask = None if self.kept.all() else self.kept.cpu().numpy()
        fitted = fit(weight.detach().cpu().numpy(), self.format, mask=mask)
        padded = np.pad(fitted.table.astype(np.int16), (0, len(self.levels) - len(fitted.table)), "edge")
        components = np.array(fitted.components or np.zeros((2, 2)), np.int16)
        for buffer, array in ((self.levels, padded), (self.scale, fitted.scale), (self.components, components)):
            buffer.copy_(torch.from_numpy(array))

    @torch.no_grad()
    def settle(self, weight: torch.Tensor, share: float) -> None:
        """Fix this share of the kept weights, those that are fixed already among them, the largest magnitudes first."""
        count = round(share * int(self.kept.sum())) - int(self.settled.sum())
        if count <= 0:
            return
        levels = self.integers(weight)
        magnitude = torch.where(self.kept & ~self.settled, weight.abs(), -1.0).flatten()
        chosen = torch.zeros_like(magnitude, dtype=torch.bool)
        chosen[magnitude.topk(count).indices] = True
        chosen = chosen.view(weight.shape)
        self.settled_levels.copy_(torch.where(chosen, levels.to(torch.int8), self.settled_levels))
        self.settled.logical_or_(chosen)

    @torch.no_grad()
    def exported(self, weight: torch.Tensor) -> QuantizedWeights:
        """The codes of the weight as it is now."""
        table = np.unique(self.levels.cpu().numpy()).astype(np.int8)
        codes = np.searchsorted(table, self.integers(weight).cpu().numpy()).astype(np.uint8)
        components = tuple(map(tuple, self.components.tolist())) if self.components.any() else ()
        return QuantizedWeights(self.format, codes, table, self.scale.cpu().numpy().copy(), components=components)

    def _reach(self) -> tuple[torch.Tensor, torch.Tensor]:
        """As far as weights have a gradient, in levels: the outer ones, and half of the way to the next beyond."""
        levels = self.levels.float()
        low, high = levels[0], levels[-1]
        below_high = torch.where(levels < high, levels, low).max()
        return low - (levels[1] - low) / 2, high + (high - below_high) / 2

    def _slowness(self) -> torch.Tensor:
        """What the gradient of a scale is multiplied with, so that it moves as much as the weights do, in shares."""
        largest = self.levels.float().abs().max().clamp(min=1)
        weights = self.kept.flatten(1).sum(1).clamp(min=1)
        return (1 / (largest**2 * weights.sqrt())).view(-1, *[1] * (self.kept.ndim - 1))

    def _scales(self, weight: torch.Tensor) -> torch.Tensor:
        return self.scale.view(-1, *[1] * (weight.ndim - 1))

    def extra_repr(self) -> str:
        return f"{self.format}, {float(self.settled.float().mean()):.0%} fixed"


def weight_quantizers(model: nn.Module) -> dict[str, tuple[WeightQuantizer, nn.Parameter]]:
    """Quantizer and latent weight of each quantized layer, by its name."""
    found = {}
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            chain = module.parametrizations.weight
            if isinstance(chain[0], WeightQuantizer):
                found[name] = chain[0], chain.original
    return found
