"""What a calibrated network computes, by the interpreter: a check of the compiled one, and the way to judge
choices that no gate can express."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tvm

from espalier.build import prepare
from espalier.core.calibration import Calibration, Gate
from espalier.core.plan import Plan
from espalier.passes import pipeline
from espalier.passes.analysis.gate_sites import GateSite, GateSites, layer_names
from espalier.passes.prune.insert_channel_gates import check_gate
from espalier.passes.prune.replace_weights import ReplaceWeights

from .convolution import finish, linear
from .fit import subsample, winners_mask
from .inputs import grouped_inputs
from .interpreter import Interpreter, Lane, Layer
from .selection import saliency

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
    plan.check_layers(layer_names(prepared))
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
        layers = _GatedLayers(found, calibration.gates, random)
        outputs.append(interpreter.walk([interpreter.lane(part)], layers)[0])
    whole = np.concatenate(outputs)
    return whole.reshape(-1, *whole.shape[2:])


class _GatedLayers:
    """Computes layers under gates that are given; without a gate their channels are drawn."""

    def __init__(self, found: GateSites, gates: Mapping[str, Gate], random: np.random.Generator | None):
        self.found, self.gates, self.random, self.masks = found, gates, random, {}

    def __call__(self, layer: Layer, lanes: list[Lane]) -> tuple[np.ndarray]:
        x, residual = layer.read(lanes[0])
        branch = linear(layer.spec, x, layer.weight, layer.bias)
        site, leader = self.found.sites.get(layer.name), self.found.followers.get(layer.name)
        if site and site.gate == "branch":
            return (finish(layer.spec, branch * self._factor(site, x), residual),)
        output = finish(layer.spec, branch, residual)
        if site:
            output = output * self._factor(site, x)
        elif leader in self.masks:  # else it is added to the sum that its leader's gate is on
            output = output * self.masks[leader][:, :, None, None]
        return (output,)

    def _factor(self, site: GateSite, x: np.ndarray) -> np.ndarray:
        """pi [S, C_out, 1, 1]."""
        gate = self.gates[site.name] if self.random is None else None
        scores = saliency(gate, subsample(x), site.channels_out, self.random)
        mask = winners_mask(scores, site.granularity, site.kept)
        self.masks[site.name] = mask
        return (mask * scores if gate and gate.mode == "boost" else mask)[:, :, None, None]
