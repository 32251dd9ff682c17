"""Channels of a torch network in another order, with their norms and with the layers that read them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx

from .layer_ends import LayerEnds
from .sites import FoundSites, ReadChannels


@torch.no_grad()
def reorder_channels(model: fx.GraphModule, found: FoundSites, orders: Mapping[str, torch.Tensor]) -> None:
    """Let layer `name` give its channel orders[name][i] as channel i; the network computes what it computed before.

    model: with gates that have no preference yet, or without any. orders: int64 [C_out], permutations, only for layers
    in `found.readers`; the others' order is fixed by an add, a concatenation or the output.
    """
    ends = LayerEnds(model)
    for name, order in orders.items():
        _reorder_rows(ends, name, order)
        _reorder_readers(ends, found.readers[name], order)


def _reorder_rows(ends: LayerEnds, name: str, order: torch.Tensor) -> None:
    convolution, norm = ends.modules[name], ends.norm(name)
    for tensor in (convolution.weight, convolution.bias):
        if tensor is not None:
            tensor.copy_(tensor[order])
    if norm is not None:
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.copy_(tensor[order])


def _reorder_readers(ends: LayerEnds, readers: ReadChannels, order: torch.Tensor) -> None:
    for name, block in readers.layers:
        weight = ends.modules[name].weight
        columns = (order[:, None] * block + torch.arange(block)).flatten()
        weight.copy_(weight[:, columns])
    for name, behind in readers.depthwise:
        _reorder_rows(ends, name, order)
        _reorder_readers(ends, behind, order)
