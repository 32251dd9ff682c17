"""Channels in the order of their importance, so that those of like importance share a group.

The network computes what it computed before: the rows of a layer's weight and the columns of its readers'
weights are reordered together.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tvm
from tvm import relax

from espalier.core.calibration import LayerWeights
from espalier.ir.dataflow import Dataflow
from espalier.passes.prune.replace_weights import layer_weights

from .readers import ChannelReaders


def can_reorder(flow: Dataflow, var: relax.Var) -> bool:
    """Whether the output channels of the layer bound to `var` can be reordered.

    They can if they reach only ungrouped convolutions and dense layers, through channelwise operators and
    depthwise convolutions; an add, a concatenation or the model's output fixes their order.
    The layer itself must not be grouped nor take a residual.
    """
    layer = flow.layer_of(var)
    if not layer or getattr(layer[1], "groups", 1) > 1 or "residual" in layer[1].roles:
        return False
    return _reads_in_any_order(flow, var)


def reordered_weights(mod: tvm.IRModule, orders: Mapping[str, np.ndarray]) -> dict[str, LayerWeights]:
    """The weights that change when layer `name` gives its channel orders[name][i] as channel i.

    orders: by layer name, a permutation of the output channels; only of layers that `can_reorder`.
    """
    reorderer = _Reorderer(Dataflow.of(mod), layer_weights(mod))
    for var in reorderer.flow.values:
        layer = reorderer.flow.layer_of(var)
        if layer and layer[1].name in orders:
            reorderer.reorder(var, layer[1].name, orders[layer[1].name])
    return reorderer.changed


def _reads_in_any_order(flow: Dataflow, var: relax.Var) -> bool:
    readers = ChannelReaders.of(flow, var)
    if readers.others or not (readers.layers or readers.depthwise):
        return False
    return all(_reads_in_any_order(flow, one.output) for one in readers.depthwise)


class _Reorderer:
    def __init__(self, flow: Dataflow, weights: Mapping[str, LayerWeights]):
        self.flow, self.weights, self.changed = flow, weights, {}

    def reorder(self, var: relax.Var, name: str, order: np.ndarray) -> None:
        """The rows of the layer `name`, bound to `var`, and the columns of its readers."""
        own, readers = self._present(name), ChannelReaders.of(self.flow, var)
        self.changed[name] = LayerWeights(own.weight[order], own.bias[order])
        for reader in readers.layers:
            other = self._present(reader.name)
            columns = (order[:, None] * reader.block + np.arange(reader.block)).reshape(-1)
            self.changed[reader.name] = LayerWeights(other.weight[:, columns], other.bias)
        for one in readers.depthwise:
            self.reorder(one.output, one.name, order)

    def _present(self, name: str) -> LayerWeights:
        return self.changed.get(name, self.weights[name])
