"""Layers with parametrized weights as plain ones."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils import parametrize


def with_plain_layers(model: nn.Module) -> nn.Module:
    """A copy of the network in inference mode in which every parametrized weight is what it is computed to be.

    By replacing layers: torch's remove_parametrizations changes a class that a copy shares with its original.
    """
    plain = copy.deepcopy(model).eval()
    for name, module in list(plain.named_modules()):
        if parametrize.is_parametrized(module, "weight"):
            plain.set_submodule(name, _plain(module))
    return plain


def _plain(module: nn.Module) -> nn.Module:
    kind = parametrize.type_before_parametrizations(module)
    plain = kind.__new__(kind)
    plain.__dict__ = {**module.__dict__, "_modules": {}, "_parameters": dict(module._parameters)}
    plain.weight = nn.Parameter(module.weight.detach())
    return plain
