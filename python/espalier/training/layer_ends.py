"""Where in a traced network a layer ends: behind the norm, the add and the activation that the compiler fuses to it."""

from __future__ import annotations

import operator

import torch
from torch import fx, nn
from torch.nn import functional

from ..core.errors import InvalidModelError
from ..core.layers import LayerSpec

_ABSENT_WHEN_COMPILED = (nn.Identity, nn.Dropout, nn.Dropout2d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardtanh)
_ACTIVATION_FUNCTIONS = (
    torch.relu,
    torch.relu_,
    torch.clamp,
    torch.clip,
    functional.relu,
    functional.relu_,
    functional.relu6,
    functional.hardtanh,
)
_ACTIVATION_METHODS = ("relu", "relu_", "clamp", "clip")
_ADDS = (operator.add, operator.iadd, torch.add)


def scale_channels(y: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """y [N, C, H, W] times factor [N, C], in the type of y: what a gate does to a layer, a call in the graph."""
    return y * factor.to(y.dtype)[:, :, None, None]


class LayerEnds:
    """The layers of a traced network, with gates or without, by the name of their nn.Conv2d or nn.Linear."""

    def __init__(self, model: fx.GraphModule):
        self.modules = dict(model.named_modules())
        self.calls: dict[str, list[fx.Node]] = {}
        for node in model.graph.nodes:
            if node.op == "call_module" and isinstance(self.modules[node.target], (nn.Conv2d, nn.Linear)):
                self.calls.setdefault(node.target, []).append(node)

    def call(self, name: str) -> fx.Node:
        """The call of the layer's module; InvalidModelError unless it is a module that is called once."""
        calls = self.calls.get(name, [])
        if len(calls) != 1:
            raise InvalidModelError(
                f"layer {name!r}: its nn.Conv2d or nn.Linear is called {len(calls)} times, accepted for a layer with "
                "a gate or quantizers is once; give it density 1 and weights float32 in the plan"
            )
        return calls[0]

    def end(self, name: str, spec: LayerSpec, gate: str) -> fx.Node:
        """The node whose value a gate of this kind ("branch", "output" or "listed") scales, or has scaled."""
        node = self._through(self.call(name), (nn.BatchNorm2d,))
        if gate == "branch":
            return node
        if "residual" in spec.roles:
            node = self._only_user(name, node, "add", self._is_add)
        if spec.activation.kind != "none":
            node = self._only_user(name, node, "activation", self._is_activation)
        return node

    def norm(self, name: str) -> nn.BatchNorm2d | None:
        """The batch norm behind the layer's convolution, if there is one."""
        node = self.call(name)
        while len(node.users) == 1 and (node := next(iter(node.users))).op == "call_module":
            module = self.modules[node.target]
            if isinstance(module, nn.BatchNorm2d):
                return module
            if not isinstance(module, _ABSENT_WHEN_COMPILED):
                break
        return None

    def _through(self, node: fx.Node, once: tuple[type[nn.Module], ...] = ()) -> fx.Node:
        """Behind modules that vanish when compiled, and a gate's scaling; one of the types `once` may be there."""
        while len(node.users) == 1:
            user = next(iter(node.users))
            if user.op == "call_function" and user.target is scale_channels and user.args[0] is node:
                node = user
                continue
            if user.op != "call_module" or not isinstance(self.modules[user.target], (*_ABSENT_WHEN_COMPILED, *once)):
                break
            if isinstance(self.modules[user.target], once):
                once = ()
            node = user
        return node

    def _only_user(self, name: str, node: fx.Node, what: str, accepts) -> fx.Node:
        users = [user for user in node.users if accepts(user)]
        if len(node.users) != 1 or not users:
            raise InvalidModelError(
                f"layer {name!r}: no {what} was found behind {node.name} where the compiler has one; "
                "write it as a torch function or module, or give the layer density 1 in the plan"
            )
        return self._through(users[0])

    def _is_add(self, node: fx.Node) -> bool:
        return (node.op == "call_function" and node.target in _ADDS) or (
            node.op == "call_method" and node.target in ("add", "add_")
        )

    def _is_activation(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.modules[node.target], _ACTIVATIONS)
        return (node.op == "call_function" and node.target in _ACTIVATION_FUNCTIONS) or (
            node.op == "call_method" and node.target in _ACTIVATION_METHODS
        )
