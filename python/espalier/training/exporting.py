"""A trained network with gates or quantizers as what `espalier.build` takes."""

from __future__ import annotations

import dataclasses

import numpy as np
import tvm
from torch import fx

from ..build import plan_for, prepare
from ..core.calibration import Calibration, Gate
from ..core.errors import InvalidModelError, InvalidPlanError
from ..core.plan import Plan
from ..frontend.torch import from_torch
from ..passes.prune.replace_weights import model_digest
from .activation_quantizers import ActivationQuantizer
from .gates import ChannelGate, found_gates, without_gates
from .plain_layers import with_plain_layers
from .tracing import PLAN, RANGES
from .weight_quantizer import weight_quantizers


def export(model: fx.GraphModule, example) -> tuple[tvm.IRModule, Plan, Calibration]:
    """(mod, plan, calibration): `espalier.build(mod, target, plan, calibration)` computes what the network does.

    model: from `insert_gates` or `insert_quantizers`; it is exported as for inference, at its present densities. One
        with quantizers becomes the integers of its codes and ranges, see `integer_eval`.
    example: a tensor, or a tuple of them, with the shapes of the inputs.

    Raises InvalidModelError for a network without either, InvalidPlanError for one whose gates keep all channels.
    """
    codes = {name: one.exported(weight) for name, (one, weight) in weight_quantizers(model).items()}
    if not codes and not found_gates(model):
        raise InvalidModelError(
            "the network has no channel gates and no quantizers; insert them with espalier.training.insert_gates or "
            "espalier.training.insert_quantizers"
        )
    mod, plan, calibration = export_float(_without_quantizers(model), model.meta.get(PLAN, Plan()), example)
    return mod, plan, dataclasses.replace(calibration, ranges=model.meta.get(RANGES, {}), quantized=codes)


def export_float(model: fx.GraphModule, plan: Plan, example) -> tuple[tvm.IRModule, Plan, Calibration]:
    """The same for a network without quantizers, with gates or without, under a plan that may quantize it."""
    gates = found_gates(model)
    mod = from_torch(without_gates(model).cpu(), example)
    calibration = Calibration(
        {name: _exported(gate) for name, gate in gates.items()}, model_digest=model_digest(prepare(mod))
    )
    return mod, _plan_of(plan_for(mod, plan), gates), calibration


def _without_quantizers(model: fx.GraphModule) -> fx.GraphModule:
    """A copy of the network whose weights have their quantized values and whose activations are not rounded."""
    plain = with_plain_layers(model)
    for node in list(plain.graph.nodes):
        if node.op == "call_module" and isinstance(plain.get_submodule(node.target), ActivationQuantizer):
            node.replace_all_uses_with(node.args[0])
            plain.graph.erase_node(node)
    plain.recompile()
    return plain


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
