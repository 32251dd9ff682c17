"""What a plan needs of a calibration, with arbitrary values: enough to know how long the network will take."""

from __future__ import annotations

import numpy as np
import tvm

from espalier.build import plan_for, prepare
from espalier.core import ir_names
from espalier.core.calibration import Calibration, Gate, Range
from espalier.core.plan import Plan
from espalier.ir.dataflow import Dataflow
from espalier.passes import pipeline
from espalier.passes.analysis.gate_sites import GateSites
from espalier.passes.quantize.tensor_names import gate_names, tensor_names

ANY_RANGE = Range(0.0, 4.0)


def placeholder_calibration(mod: tvm.IRModule, plan: Plan) -> Calibration:
    """A gate for each layer that the plan gates, and a range for each tensor of a network.

    The programs built with it take as long as calibrated ones and compute nothing of use. Errors as from `build`.
    """
    prepared, plan = prepare(mod), plan_for(mod, plan)
    gates = {
        site.name: Gate(np.zeros((site.channels_in, site.channels_out), "f4"), np.ones(site.channels_out, "f4"))
        for site in GateSites.of(prepared, plan).sites.values()
    }
    flow = Dataflow.of(pipeline.apply(prepared, pipeline.prune_phase(plan, Calibration(gates))))
    layers = [flow.operator_of(var) for var in flow.values]
    gated = [spec.name for name, spec, _ in filter(None, layers) if name == ir_names.CHANNEL_GATE]
    names = [*tensor_names(flow).values(), *(name for layer in gated for name in gate_names(layer))]
    return Calibration(gates, ranges=dict.fromkeys(names, ANY_RANGE))
