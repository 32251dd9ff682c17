"""Parameters and buffers of a finished network in few bytes, and back."""

from __future__ import annotations

import torch
from torch import nn

from .plain_layers import with_plain_layers
from .weight_quantizer import weight_quantizers

LATENT = ".parametrizations.weight.original"
QUANTIZER = ".parametrizations.weight.0."


def stored_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Floats as float16. With quantizers exactly what was trained: weights as int8 levels, all else as it is."""
    quantized = weight_quantizers(model)
    if not quantized:
        state = with_plain_layers(model).state_dict()
        return {name: one.half() if one.is_floating_point() else one for name, one in state.items()}
    state = model.state_dict()
    for name, (quantizer, weight) in quantized.items():
        state[f"{name}{LATENT}"] = quantizer.integers(weight.detach()).to(torch.int8)
        for buffer in ("kept", "settled", "settled_levels"):
            del state[f"{name}{QUANTIZER}{buffer}"]
    return state


def restored_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict from what `stored_state` gave: levels times scales; what is 0 stays 0 if it is trained further."""
    restored = dict(state)
    for name in [one for one in state if one.endswith(LATENT) and state[one].dtype == torch.int8]:
        levels, layer = state[name], name.removesuffix(LATENT)
        scale = state[f"{layer}{QUANTIZER}scale"].view(-1, *[1] * (levels.ndim - 1))
        restored[name] = levels.float() * scale
        restored[f"{layer}{QUANTIZER}kept"] = levels != 0
        restored[f"{layer}{QUANTIZER}settled"] = torch.zeros_like(levels, dtype=torch.bool)
        restored[f"{layer}{QUANTIZER}settled_levels"] = torch.zeros_like(levels)
    return restored
