"""A trained network with gates as what `espalier.build` takes."""

from __future__ import annotations

import dataclasses

import numpy as np
import tvm
from torch import fx

from ..build import prepare
from ..core.calibration import Calibration, Gate
from ..core.errors import InvalidPlanError
from ..core.plan import Plan
from ..frontend.torch import from_torch
from ..passes.prune.replace_weights import model_digest
from .gates import PLAN, ChannelGate, gates_of, without_gates


def export(model: fx.GraphModule, example) -> tuple[tvm.IRModule, Plan, Calibration]:
    """(mod, plan, calibration): `espalier.build(mod, target, plan, calibration)` computes what the network does.

    model: from `insert_gates`; it is exported as for inference, at its present densities.
    example: a tensor, or a tuple of them, with the shapes of the inputs.

    Raises InvalidModelError for a network without gates, InvalidPlanError for one whose gates keep all channels.
    """
    gates = gates_of(model)
    mod = from_torch(without_gates(model), example)
    calibration = Calibration(
        {name: _exported(gate) for name, gate in gates.items()}, model_digest=model_digest(prepare(mod))
    )
    return mod, _plan_of(model.meta[PLAN], gates), calibration


def _exported(gate: ChannelGate) -> Gate:
    phi, rho = (np.ascontiguousarray(one.detach().float().cpu().numpy()) for one in (gate.phi, gate.rho))
    return Gate(phi, rho, "boost")


def _plan_of(plan: Plan, gates: dict[str, ChannelGate]) -> Plan:
    """The plan with the densities and granularities that the gates have now."""
    layers = {name: dict(settings) for name, settings in plan.layers.items()}
    for name, gate in gates.items():
        if gate.kept == gate.groups:
            raise InvalidPlanError(
                f"layer {name!r}: its gate keeps all {gate.groups} groups, which the compiler has no gate for; "
                "lower it with espalier.training.set_density first"
            )
        layers.setdefault(name, {}).update(density=gate.kept / gate.groups, granularity=gate.granularity)
    return dataclasses.replace(plan, layers=layers)
