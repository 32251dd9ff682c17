"""Networks as graphs that gates and quantizers are inserted into."""

from __future__ import annotations

import copy

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..core.errors import InvalidModelError
from .layer_ends import LayerEnds

PLAN = "espalier.plan"
"""The key in the `meta` of a network with gates or quantizers of the plan it was made for."""

RANGES = "espalier.ranges"
"""The key in the `meta` of a network with quantizers of the ranges of its activations."""


def traced(model: nn.Module) -> fx.GraphModule:
    """A copy of the network as a graph; InvalidModelError if torch.fx cannot trace it."""
    copied = copy.deepcopy(model)
    if isinstance(copied, fx.GraphModule):
        return copied
    try:
        return fx.symbolic_trace(copied)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise InvalidModelError(f"torch.fx cannot trace the network ({reason})") from None


@torch.no_grad()
def fold_norms(model: fx.GraphModule) -> None:
    """Let each convolution compute its batch norm too, from the running statistics: as compiled, so from now on fixed.

    Norms that are not behind a convolution alone stay.
    """
    ends = LayerEnds(model)
    for node in list(model.graph.nodes):
        if node.op == "call_module" and isinstance(ends.modules[node.target], nn.BatchNorm2d):
            _fold(model, ends, node)
    model.graph.lint()
    model.delete_all_unused_submodules()
    model.recompile()


def _fold(model: fx.GraphModule, ends: LayerEnds, node: fx.Node) -> None:
    norm = ends.modules[node.target]
    name = next((name for name, calls in ends.calls.items() if len(calls) == 1 and ends.norm(name) is norm), None)
    if name is None:
        return
    convolution = ends.modules[name]
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    weight, bias = fuse_conv_bn_weights(convolution.weight, convolution.bias, *statistics)
    convolution.weight, convolution.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    node.replace_all_uses_with(node.args[0])
    model.graph.erase_node(node)
