"""Where a plan puts channel gates, and why not elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax

from espalier.core import ir_names
from espalier.core.errors import InvalidPlanError
from espalier.core.layers import Conv2dSpec, conv2d_macs, gate_macs
from espalier.core.plan import LayerPlan, Plan, default_granularity, kept_groups
from espalier.ir.dataflow import Dataflow, argument, shape_of

WORTH_A_GATE = 4
"""A gate is refused to a layer with less than this many times the multiply-accumulates of the gate's predictor."""

CHANNELWISE = (
    "relax.nn.relu",
    "relax.nn.relu6",
    "relax.clip",
    "relax.nn.max_pool2d",
    "relax.nn.avg_pool2d",
)
"""Stock operators that keep channels apart; a residual trunk may run through them."""


@dataclass(frozen=True)
class GateSite:
    """A layer whose output gets a gate of its own.

    gate: "branch" before the residual add, "output" after everything that is fused to the layer.
    kept: groups of `granularity` channels that win, of `channels_out` / `granularity`.
    """

    name: str
    gate: str
    channels_in: int
    channels_out: int
    granularity: int
    kept: int


@dataclass(frozen=True)
class GateSites:
    """The answer for one module and plan.

    sites: by layer name, in program order. A layer whose gate came with the model has none: it keeps that gate.
    followers: layers that compute only the winners of another layer's gate, name -> that layer: those that are
        only added to a gated sum, and depthwise layers on a gated input (their own bias would fill it up again).
    remarks: one line for each layer that the plan wanted gated (density below one) and is not.
    """

    sites: dict[str, GateSite]
    followers: dict[str, str]
    remarks: list[str]

    @staticmethod
    def of(mod: tvm.IRModule, plan: Plan) -> GateSites:
        """Decide for every layer of a module after FuseLayers."""
        return _Finder(mod, plan).find()


def layer_names(mod: tvm.IRModule) -> list[str]:
    """Names of the layers of a module after FuseLayers, in program order."""
    flow = Dataflow.of(mod)
    layers = (flow.layer_of(var) for var in flow.values)
    return [layer[1].name for layer in layers if layer and layer[0] != ir_names.CHANNEL_GATE]


class _Finder:
    def __init__(self, mod: tvm.IRModule, plan: Plan):
        self.flow, self.plan = Dataflow.of(mod), plan
        self.found = GateSites({}, {}, [])

    def find(self) -> GateSites:
        for var in self.flow.values:
            layer = self.flow.layer_of(var)
            if layer and layer[0] != ir_names.CHANNEL_GATE:
                self._decide(var, layer[1], layer[2])
        self._let_followers_follow()
        return self.found

    def _decide(self, var: relax.Var, spec, call: relax.Call) -> None:
        settings = self.plan.layer(spec.name)
        if settings.density == 1:
            return
        if spec.integer is not None:
            self._remark(spec.name, "it came quantized, and gates are fitted to float32 layers")
            return
        if spec.gate != "none":
            _check_same_gate(spec, settings, shape_of(var)[1])
            return
        if isinstance(spec, Conv2dSpec) and spec.groups == shape_of(call.args[0])[1] == shape_of(var)[1]:
            self._carry(spec, call.args[0])
            return
        reason = self._obstacle(var, spec, call)
        gate = None if reason else self._gate(var, spec, settings)
        if gate:
            self._add(spec.name, gate, call, settings)
        elif spec.name not in self.found.followers:
            self._remark(spec.name, reason or f"its output runs into a residual add (placement {settings.placement})")

    def _obstacle(self, var: relax.Var, spec, call: relax.Call) -> str | None:
        if not isinstance(spec, Conv2dSpec):
            return "only convolutions are gated"
        if spec.groups > 1:
            return "grouped convolutions other than depthwise ones are computed whole"
        weight = shape_of(call.args[1])
        if conv2d_macs(weight, shape_of(var)) < WORTH_A_GATE * gate_macs(weight[1], weight[0], 0):
            return "a gate would cost more than it saves"
        if not self._feeds_a_layer(var):
            return "no layer reads its output"
        return None

    def _gate(self, var: relax.Var, spec: Conv2dSpec, settings: LayerPlan) -> str | None:
        is_sum, (adds, only_adds) = "residual" in spec.roles, self._adds(var)
        if not is_sum and not adds:
            return "output"
        if settings.placement == "inner":
            return None
        if is_sum:
            return {"branch": "branch", "sum": "output"}[settings.placement]
        if settings.placement == "sum" and only_adds and len(adds) == 1:
            self.found.followers[spec.name] = adds[0]
            return None
        return "output"

    def _carry(self, spec: Conv2dSpec, x: relax.Expr) -> None:
        """A depthwise layer computes the winners of the gate on its input."""
        leader = self._gate_on(x)
        if "residual" in spec.roles:
            self._remark(spec.name, "a depthwise convolution with a residual would lose part of what is added")
        elif leader:
            self.found.followers[spec.name] = leader
        else:
            self._remark(spec.name, "a depthwise convolution carries the gate of its input, which has none")

    def _gate_on(self, value: relax.Expr) -> str | None:
        """Name of the layer whose gate decides which channels of `value` are nonzero."""
        call = self.flow.call_of(value, *CHANNELWISE)
        if call is not None:
            return self._gate_on(call.args[0])
        layer = self.flow.layer_of(value)
        name = layer and layer[1].name
        if name in self.found.followers:
            return self.found.followers[name]
        site = self.found.sites.get(name)
        return name if site and site.gate == "output" else None

    def _adds(self, var: relax.Var) -> tuple[list[str], bool]:
        """Names of the layers that add this value to theirs ("" for a bare add), and whether nothing else reads it."""
        names, only_adds = [], True
        for user in self.flow.users[var]:
            layer = self.flow.layer_of(user)
            if layer and var == argument(layer[1], layer[2], "residual"):
                names.append(layer[1].name)
            elif self.flow.call_of(user, "relax.add") is not None:
                names.append("")
            elif self.flow.call_of(user, *CHANNELWISE) is not None:
                further, only_further = self._adds(user)
                names, only_adds = names + further, only_adds and only_further
            else:
                only_adds = False
        return names, only_adds

    def _feeds_a_layer(self, var: relax.Var) -> bool:
        """Whether another layer's result depends on this value."""
        waiting, seen = [var], set()
        while waiting:
            for user in self.flow.users[waiting.pop()]:
                if self.flow.layer_of(user):
                    return True
                if user not in seen:
                    seen.add(user)
                    waiting.append(user)
        return False

    def _add(self, name: str, gate: str, call: relax.Call, settings: LayerPlan) -> None:
        weight = shape_of(call.args[1])
        granularity = settings.granularity or default_granularity(weight[0])
        if weight[0] % granularity:
            if self.plan.sets(name, "granularity"):
                raise InvalidPlanError(
                    f"plan, layer {name!r}: granularity {granularity} does not divide its {weight[0]} channels"
                )
            granularity = default_granularity(weight[0])
            self._note(
                name, f"granularity {settings.granularity} does not divide {weight[0]} channels, took {granularity}"
            )
        kept = kept_groups(weight[0], settings.density, granularity)
        if kept * granularity == weight[0]:
            self._remark(
                name, f"density {settings.density} of {weight[0]} channels in groups of {granularity} keeps all"
            )
            return
        self.found.sites[name] = GateSite(name, gate, shape_of(call.args[0])[1], weight[0], granularity, kept)

    def _let_followers_follow(self) -> None:
        for name, leader in list(self.found.followers.items()):
            site = self.found.sites.get(leader)
            if site is None or site.gate != "output":
                del self.found.followers[name]
                self._remark(name, "the sum that it is added to is not gated")

    def _remark(self, name: str, reason: str) -> None:
        self._note(name, f"not gated: {reason}")

    def _note(self, name: str, text: str) -> None:
        self.found.remarks.append(f"{name}: {text}")


def _check_same_gate(spec: Conv2dSpec, settings: LayerPlan, channels: int) -> None:
    """Raise InvalidPlanError if the plan wants another density or granularity than the model's own gate has."""
    own, wanted = spec.winners, settings.granularity or spec.winners.granularity
    kept = kept_groups(channels, settings.density, own.granularity)
    if (wanted, kept) != (own.granularity, own.count):
        raise InvalidPlanError(
            f"plan, layer {spec.name!r}: density {settings.density} in groups of {wanted}, but its gate came with the "
            f"model and keeps {own.count} of {channels // own.granularity} groups of {own.granularity}; "
            "accepted are these, or a density of 1, which leaves the gate as it is"
        )
