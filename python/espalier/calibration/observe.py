"""The ranges of activations over calibration data, under the gates that will run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import tvm
from tvm import relax

from espalier.core.calibration import Calibration, Range
from espalier.core.plan import Plan
from espalier.passes import pipeline
from espalier.passes.analysis.gate_sites import GateSites
from espalier.passes.prune.prune_weights import PruneWeights
from espalier.passes.prune.replace_weights import ReplaceWeights
from espalier.passes.quantize.integer_tensors import IntegerTensors
from espalier.passes.quantize.tensor_names import gate_names, tensor_names

from .gated_layers import GatedLayers
from .histogram import OUTLYING, Histogram
from .interpreter import Interpreter, flat

SAMPLES = 64
"""So many samples go through the network at a time."""

MOST_LOST = 0.9
"""A range in whose steps a larger share of the values becomes 0 is worth a remark."""


def observed_ranges(
    prepared: tvm.IRModule, inputs: Mapping[str, np.ndarray], plan: Plan, calibration: Calibration, method: str
) -> tuple[dict[str, Range], list[str]]:
    """A range for every tensor that the plan has in integers, and for what the gates of quantized layers compute.

    With remarks, one line each, on what has outliers and on what its range does not tell from 0.

    prepared: a module before the prune phase; inputs: [G, N, ...] by input name; calibration: its gates and weights
    are those that will run; method: one of `histogram.RANGES`.
    """
    # asked of the network with its gates: a gated layer gives integers to whoever reads it
    found = IntegerTensors.of(pipeline.apply(prepared, pipeline.prune_phase(plan, calibration)), plan)
    if not found.layers:
        return {}, []
    prepared = pipeline.apply(prepared, [ReplaceWeights(calibration), PruneWeights(plan)])
    interpreter = Interpreter(prepared)
    watch = _Watch(found, tensor_names(interpreter.flow))
    sites = GateSites.of(prepared, plan)
    first = next(iter(inputs.values()))
    step = max(1, SAMPLES // first.shape[1])
    for start in range(0, len(first), step):
        lane = interpreter.lane({name: array[start : start + step] for name, array in inputs.items()})
        for var, value in lane.items():
            watch.on_value(var, value)
        interpreter.walk([lane], GatedLayers(sites, calibration.gates, on_gate=watch.on_gate), watch.on_value)
    ranges = watch.ranges(method)
    return ranges, watch.remarks(ranges)


class _Watch:
    """Counts the values of what goes by; names: of the tensors of the network that runs."""

    def __init__(self, found: IntegerTensors, names: Mapping[relax.Var, str]):
        own = tensor_names(found.flow)
        self.layers, self.bits = found.layers, {own[var]: found.bits(var) for var in found.wanted}
        self.names = {var: name for var, name in names.items() if name in self.bits}
        self.seen: dict[str, Histogram] = {}

    def on_value(self, var, value: np.ndarray) -> None:
        if var in self.names:
            self._count(self.names[var], flat(value))

    def on_gate(self, layer: str, features: np.ndarray, saliencies: np.ndarray) -> None:
        if layer in self.layers:
            for name, values in zip(gate_names(layer), (features, saliencies)):
                self._count(name, values)

    def _count(self, name: str, values: np.ndarray) -> None:
        self.seen.setdefault(name, Histogram()).add(values)

    def ranges(self, method: str) -> dict[str, Range]:
        """A gate's values are not clipped, but for outliers: their largest ones are what it is about."""
        return {
            name: seen.range(method, self.bits[name]) if name in self.bits else seen.ordinary().range("minmax", 8)
            for name, seen in self.seen.items()
        }

    def remarks(self, taken: Mapping[str, Range]) -> list[str]:
        """A line for each tensor that has outliers, or whose values are nearly all lost in the steps of its range."""
        return [line for name, seen in self.seen.items() for line in self._remarks(name, seen, taken[name])]

    def _remarks(self, name: str, seen: Histogram, taken: Range) -> Iterator[str]:
        ranges = f"seen is {seen.low:.4g} to {seen.high:.4g}, taken {taken.low:.4g} to {taken.high:.4g}"
        if seen.outliers:
            count = f"{seen.outliers} of {seen.samples} samples reach"
            yield f"{name}: {count} more than {OUTLYING:g} times as far as all others: {ranges}"
        lost = seen.lost(taken, self.bits.get(name, 8))
        if lost > MOST_LOST:
            yield f"{name}: {lost:.2%} of its values other than 0 are less than half a step and become 0: {ranges}"
