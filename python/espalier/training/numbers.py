"""Which tensors of a torch network the compiler makes integer, with which numbers: asked of its own passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tvm

from ..build import prepare
from ..calibration.calibrate import calibrate
from ..core import ir_names
from ..core.calibration import Calibration, Range
from ..core.layers import LayerSpec
from ..core.plan import Plan
from ..ir.dataflow import argument
from ..passes import pipeline
from ..passes.quantize.gate_arrays import MOST, NO_BOOST, boost_of
from ..passes.quantize.integer_tensors import IntegerTensors
from ..passes.quantize.scales import Numbers, numbers_of
from ..passes.quantize.tensor_names import gate_names, tensor_names


@dataclass(frozen=True)
class LayerNumbers:
    """A layer that computes in integers.

    x: of its input. y: of its output, None where that is float32.
    gate: of the means that its gate reads and of its pi, None without a gate.
    """

    spec: LayerSpec
    x: Numbers
    y: Numbers | None
    gate: tuple[Numbers, Numbers] | None


def observed(mod: tvm.IRModule, plan: Plan, calibration: Calibration, inputs: np.ndarray) -> dict[str, Range]:
    """The ranges of activations over inputs [S, ...], under the gates of the calibration; see `calibrate`."""
    return dict(calibrate(mod, inputs, plan, gates_from=calibration).ranges)


def layer_numbers(
    mod: tvm.IRModule, plan: Plan, calibration: Calibration, ranges: Mapping[str, Range]
) -> dict[str, LayerNumbers]:
    """By layer name, in program order. Raises InvalidPlanError if a range is missing."""
    mod = pipeline.apply(prepare(mod), pipeline.prune_phase(plan, calibration))
    found = IntegerTensors.of(mod, plan)
    numbers = numbers_of(found, tensor_names(found.flow), ranges)
    gates, result = {}, {}
    for var in found.flow.values:
        operator, spec, call = found.flow.layer_of(var) or (None, None, None)
        if operator == ir_names.CHANNEL_GATE:
            gates[spec.name] = spec
        elif operator and spec.name in found.layers:
            result[spec.name] = LayerNumbers(
                spec,
                numbers[argument(spec, call, "x")],
                numbers.get(var),
                _gate_numbers(gates[spec.name], spec, ranges) if spec.name in gates else None,
            )
    return result


def _gate_numbers(gate, spec: LayerSpec, ranges: Mapping[str, Range]) -> tuple[Numbers, Numbers]:
    most_mean, most_pi = (ranges[name].high for name in gate_names(spec.name))
    boost = boost_of(gate, spec, most_pi) or NO_BOOST
    return Numbers((most_mean or 1.0) / MOST, 0, MOST), Numbers(boost.scale, 0, MOST)
