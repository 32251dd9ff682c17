"""The channel gate as one operator of torch, `espalier::channel_gate`: what an exported network holds in its place.

Importing this module registers it, which `torch.export.load` needs before it reads a network with gates.
"""

from __future__ import annotations

import torch

from .gates import mean_magnitude, saliency_of, winners_mask


@torch.library.custom_op("espalier::channel_gate", mutates_args=())
def channel_gate(
    x: torch.Tensor, phi: torch.Tensor, rho: torch.Tensor, granularity: int, kept: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(pi, mask) of a `gates.ChannelGate`, both float32 [N, channels_out]; for inference, it has no gradient."""
    saliency = saliency_of(mean_magnitude(x), phi, rho)
    mask = winners_mask(saliency, granularity, kept)
    return saliency * mask, mask


@channel_gate.register_fake
def _(x, phi, rho, granularity, kept):
    pi = rho.new_empty((x.shape[0], rho.shape[0]), dtype=torch.float32)
    return pi, torch.empty_like(pi)
