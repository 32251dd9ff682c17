"""Which layers of a torch module the compiler would gate: asked of the compiler's own passes, not decided again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tvm
from torch import nn
from tvm import relax

from ..build import prepare
from ..calibration.permute import can_reorder
from ..calibration.readers import ChannelReaders
from ..core.layers import LayerSpec
from ..core.plan import Plan
from ..frontend.torch import from_torch
from ..ir.dataflow import Dataflow
from ..passes.analysis.gate_sites import GateSite, GateSites, layer_names


@dataclass(frozen=True)
class ReadChannels:
    """The readers of a tensor's channels by name.

    layers: each with how many columns of its weight go with a channel. depthwise: each with who reads its output.
    """

    layers: tuple[tuple[str, int], ...]
    depthwise: tuple[tuple[str, ReadChannels], ...]

    @staticmethod
    def of(flow: Dataflow, var: relax.Var) -> ReadChannels:
        """The readers of the value of `var`."""
        found = ChannelReaders.of(flow, var)
        return ReadChannels(
            tuple((one.name, one.block) for one in found.layers),
            tuple((one.name, ReadChannels.of(flow, one.output)) for one in found.depthwise),
        )


@dataclass(frozen=True)
class FoundSites:
    """The answer for one network and plan; see `passes.analysis.gate_sites.GateSites`.

    specs: by layer name, what the compiler fuses to each layer.
    readers: by layer name, who reads the output channels of the layers whose channels can be put in another order.
    """

    sites: Mapping[str, GateSite]
    followers: Mapping[str, str]
    remarks: list[str]
    specs: Mapping[str, LayerSpec]
    readers: Mapping[str, ReadChannels]


def find_sites(model: nn.Module, plan: Plan, example) -> FoundSites:
    """Raises InvalidPlanError if the plan names a layer that the network does not have, and what `from_torch` does."""
    return sites_of(prepare(from_torch(model, example)), plan)


def sites_of(prepared: tvm.IRModule, plan: Plan) -> FoundSites:
    """The same for a module after the compiler's first phase."""
    plan = plan.for_layers(layer_names(prepared))
    found, flow = GateSites.of(prepared, plan), Dataflow.of(prepared)
    layers = {var: layer[1] for var, layer in ((var, flow.layer_of(var)) for var in flow.values) if layer}
    return FoundSites(
        found.sites,
        found.followers,
        found.remarks,
        {spec.name: spec for spec in layers.values()},
        {spec.name: ReadChannels.of(flow, var) for var, spec in layers.items() if can_reorder(flow, var)},
    )
