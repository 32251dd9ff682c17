"""Which layers of a torch module the compiler would gate: asked of the compiler's own passes, not decided again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tvm
from torch import nn

from ..build import prepare
from ..core.layers import LayerSpec
from ..core.plan import Plan
from ..frontend.torch import from_torch
from ..ir.dataflow import Dataflow
from ..passes.analysis.gate_sites import GateSite, GateSites, layer_names


@dataclass(frozen=True)
class FoundSites:
    """The answer for one network and plan; see `passes.analysis.gate_sites.GateSites`.

    specs: by layer name, what the compiler fuses to each layer.
    """

    sites: Mapping[str, GateSite]
    followers: Mapping[str, str]
    remarks: list[str]
    specs: Mapping[str, LayerSpec]


def find_sites(model: nn.Module, plan: Plan, example) -> FoundSites:
    """Raises InvalidPlanError if the plan names a layer that the network does not have, and what `from_torch` does."""
    return sites_of(prepare(from_torch(model, example)), plan)


def sites_of(prepared: tvm.IRModule, plan: Plan) -> FoundSites:
    """The same for a module after the compiler's first phase."""
    plan.check_layers(layer_names(prepared))
    found, flow = GateSites.of(prepared, plan), Dataflow.of(prepared)
    layers = (flow.layer_of(var) for var in flow.values)
    return FoundSites(
        found.sites, found.followers, found.remarks, {layer[1].name: layer[1] for layer in layers if layer}
    )
