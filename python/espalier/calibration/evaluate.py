"""What a calibrated network computes, by the interpreter: a check of the compiled one, and the way to judge
choices that no gate can express."""

from __future__ import annotations

import numpy as np
import tvm

from espalier.build import prepare
from espalier.core.calibration import Calibration
from espalier.core.plan import Plan
from espalier.passes import pipeline
from espalier.passes.analysis.gate_sites import GateSites, layer_names
from espalier.passes.prune.insert_channel_gates import check_gate
from espalier.passes.prune.replace_weights import ReplaceWeights

from .gated_layers import GatedLayers
from .inputs import grouped_inputs
from .interpreter import Interpreter

SAMPLES = 256
"""So many samples go through the network at a time."""


def evaluate(
    mod: tvm.IRModule,
    inputs,
    plan: Plan | None = None,
    calibration: Calibration | None = None,
    random: np.random.Generator | None = None,
) -> np.ndarray:
    """The first output [S, ...] of the network under a plan and a calibration.

    inputs: as for `calibrate`, any number of samples that is a multiple of the model's batch.
    random: draws the channels of every sample anew, in place of the calibration's gates.

    Raises InvalidPlanError if a gate is missing, InvalidInputError if inputs or gates do not fit.
    """
    plan, calibration = plan or Plan(), calibration or Calibration()
    prepared = prepare(mod)
    plan = plan.for_layers(layer_names(prepared))
    grouped = grouped_inputs(prepared, inputs)
    prepared = pipeline.apply(prepared, [ReplaceWeights(calibration)])
    found = GateSites.of(prepared, plan)
    if random is None:
        for site in found.sites.values():
            check_gate(site, calibration.gates.get(site.name))
    interpreter = Interpreter(prepared)
    first = next(iter(grouped.values()))
    step, outputs = max(1, SAMPLES // first.shape[1]), []
    for start in range(0, len(first), step):
        part = {name: array[start : start + step] for name, array in grouped.items()}
        layers = GatedLayers(found, calibration.gates, random)
        outputs.append(interpreter.walk([interpreter.lane(part)], layers)[0])
    whole = np.concatenate(outputs)
    return whole.reshape(-1, *whole.shape[2:])
