"""Gates for a network that was trained without any, weights that make up for what the gates leave out, and the ranges
of activations under these gates and weights, where the plan quantizes layers.

From a few hundred inputs without labels, in this order:

1. The channels of every gated layer are put in the order of their mean contribution, where the network
   allows it, so that the channels that win together are of like importance.
2. In program order, each layer that a gate reaches gets new weights: least squares on the gated network's
   activations, towards what the layer gave in the dense one.
3. Each gate's predictor is fitted: ridge regression of every channel's contribution on the mean of |x| over
   each input channel. A channel contributes what it varies, for its readers' biases make up for its mean.
4. The ridge decides how much the choice follows the input; the one with the lowest divergence from the dense
   network's outputs on inputs that were held out is taken.

References
    Gao et al., Dynamic Channel Pruning: Feature Boosting and Suppression, ICLR 2019.
    He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tvm

from espalier.build import prepare
from espalier.core.calibration import Calibration, LayerWeights, digest
from espalier.core.errors import InvalidInputError
from espalier.core.ir_names import CHANNEL_GATE
from espalier.core.plan import Plan
from espalier.ir.dataflow import Dataflow
from espalier.passes import pipeline
from espalier.passes.analysis.gate_sites import GateSites, layer_names
from espalier.passes.prune.replace_weights import ReplaceWeights, model_digest
from espalier.passes.quantize.integer_tensors import quantized_layers

from .fit import mean_divergence, mean_squared_error
from .fitting_run import FittingRun, mean_contributions
from .histogram import checked_method
from .inputs import grouped_inputs
from .interpreter import Interpreter, flat
from .observe import observed_ranges
from .permute import can_reorder, reordered_weights
from .selection import Predicted, Selection

MIN_SAMPLES = 16
ORDER_SAMPLES = 256
"""Samples that decide the order of channels."""

HELD_OUT = 4
"""One in so many inputs is held out to choose between ridges."""

Progress = Callable[[int, int, str], None]


def calibrate(
    mod: tvm.IRModule,
    inputs,
    plan: Plan,
    *,
    mode: str = "select",
    reconstruct: bool = True,
    reorder: bool = True,
    ridges: Sequence[float] = (1.0, 100.0),
    selection: Selection | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    ranges: str = "mse",
    gates_from: Calibration | None = None,
) -> Calibration:
    """Fit gates, and weights under these gates, to unlabelled inputs; and observe ranges of activations.

    mod: what a frontend returns. plan: the densities, granularities and placements to fit for.
    inputs: array [S, ...], or name -> array; S is at least 16 and a multiple of the model's batch.
    mode: "select", the only one that can be fitted; gates that boost are trained.
    reconstruct: fit weights too. reorder: put channels in order of importance first. Without both the network's
        weights stay its own.
    ridges: how strongly a predictor is held back from following the input; the best is found.
    selection: another way to choose channels, see `selection`; ridges are then not used.
    seed: of the random pixels that weights are fitted to.
    progress: called with (done, total, what).
    ranges: for a plan that quantizes layers: the range that has the least squared error ("mse"), all but the largest
        values ("percentile") or all that was seen ("minmax"); outliers among the samples count in the last alone, see
        `histogram`, and are among the remarks.
    gates_from: a calibration whose gates and weights are taken as they are (those of a training, say); only ranges are
        then observed.

    Raises InvalidInputError, InvalidPlanError, InvalidModelError.
    """
    _check_mode(mode)
    checked_method(ranges)
    selections = [selection] if selection else [Predicted(_checked_ridge(ridge)) for ridge in ridges]
    if not selections:
        raise InvalidInputError("calibration: no ridges are given, accepted is at least one number above 0")
    prepared = prepare(mod)
    plan = plan.for_layers(layer_names(prepared))
    _check_no_gates(prepared)
    given = grouped_inputs(prepared, inputs, MIN_SAMPLES)
    found = GateSites.of(prepared, plan)
    fits = bool(found.sites) and gates_from is None
    layers = len(layer_names(prepared))
    observes = bool(quantized_layers(Dataflow.of(prepared), plan))
    report = _Reporter(progress, layers * (_runs(len(selections)) + reorder) * fits + observes)
    if gates_from is not None:
        calibration = dataclasses.replace(gates_from, inputs_digest=_digest(given))
    elif fits:
        calibration = _fitted(prepared, found, given, selections, reconstruct, reorder, seed, report)
    else:
        remark = "no gate was fitted: the plan asks for none" if plan == Plan() else "no gate was fitted"
        calibration = Calibration(inputs_digest=_digest(given), remarks=(remark, *found.remarks))
    if not observes:
        return calibration
    report.named("ranges")("activations")
    observed, outliers = observed_ranges(prepared, given, plan, calibration, ranges)
    remark = f"ranges of {len(observed)} tensors were observed ({ranges})"
    own = {
        "ranges": observed,
        "model_digest": model_digest(prepared),
        "remarks": (*calibration.remarks, *outliers, remark),
    }
    return dataclasses.replace(calibration, **own)


def _fitted(prepared, found: GateSites, given, selections, reconstruct, reorder, seed, report) -> Calibration:
    """Gates, and weights under them."""
    weights = _reordered(prepared, found.sites, given, reconstruct, selections[0], report) if reorder else {}
    ordered = pipeline.apply(prepared, [ReplaceWeights(Calibration({}, weights, model_digest(prepared)))])
    fitter = _Fitter(Interpreter(ordered), found, given, reconstruct, seed, report)
    best, remarks = fitter.choose(selections)
    run = fitter.fit(best)[0]
    changes = run.variability().items()
    remarks += [
        f"{name}: its choice changes between inputs by {v:.2f} (0 never, 1 as a random one)" for name, v in changes
    ]
    return Calibration(run.gates, {**weights, **run.weights}, model_digest(prepared), _digest(given), tuple(remarks))


@dataclass(frozen=True)
class _Fitter:
    interpreter: Interpreter
    found: GateSites
    inputs: Mapping[str, np.ndarray]
    reconstruct: bool
    seed: int
    report: _Reporter

    def fit(self, selection: Selection, held_out: int = 0) -> tuple[FittingRun, np.ndarray, np.ndarray]:
        """A run fitted to all groups but the last `held_out`, and the outputs [S, ...] of these (of all if 0)."""
        groups = len(next(iter(self.inputs.values())))
        random = np.random.default_rng(self.seed)
        on_layer = self.report.named(selection.label)
        run = FittingRun(self.interpreter, self.found, selection, self.reconstruct, groups - held_out, random, on_layer)
        dense, gated = run.run(self.inputs)
        return run, flat(dense[-held_out:]), flat(gated[-held_out:])

    def choose(self, selections: Sequence[Selection]) -> tuple[Selection, list[str]]:
        """The selection whose gated network is closest to the dense one, and a remark that says so."""
        if len(selections) == 1:
            return selections[0], [f"channels are chosen by {selections[0].label}"]
        groups = len(next(iter(self.inputs.values())))
        held_out = max(1, groups // HELD_OUT) if groups > 1 else 0  # a single group is fitted to and judged by
        distances = {}
        for selection in selections:
            _, dense, gated = self.fit(selection, held_out)
            name, distances[selection] = _distance(dense, gated)
        best = min(distances, key=distances.get)
        values = ", ".join(f"{distance:.4g} with {one.label}" for one, distance in distances.items())
        return best, [f"{best.label} was chosen: {name} from the dense network's outputs is {values}"]


class _Reporter:
    """Counts layers through all runs."""

    def __init__(self, progress: Progress | None, total: int):
        self.progress, self.total, self.done = progress, total, 0

    def named(self, label: str) -> Callable[[str], None]:
        """A callback for the layers of one run."""

        def step(layer: str) -> None:
            self.done += 1
            if self.progress:
                self.progress(self.done, self.total, f"{label}: {layer}")

        return step


def _runs(selections: int) -> int:
    """Fitting runs: one for each selection and a last one on all inputs, or just the last."""
    return selections + 1 if selections > 1 else 1


def _reordered(
    prepared: tvm.IRModule, sites, inputs, reconstruct: bool, selection: Selection, report: _Reporter
) -> dict[str, LayerWeights]:
    interpreter = Interpreter(prepared)
    gated = [layer for layer in interpreter.layers if layer.name in sites]
    free = {layer.name for layer in gated if can_reorder(interpreter.flow, layer.var)}
    groups = max(1, ORDER_SAMPLES // next(iter(inputs.values())).shape[1])
    few = {name: array[:groups] for name, array in inputs.items()}
    means = mean_contributions(interpreter, free, few, reconstruct, report.named("order of channels"))
    own = {layer.name: layer.weight for layer in gated}
    importance = {name: selection.importance(mean, own[name]) for name, mean in means.items()}
    return reordered_weights(prepared, {name: np.argsort(-one, kind="stable") for name, one in importance.items()})


def _distance(dense: np.ndarray, gated: np.ndarray) -> tuple[str, float]:
    if dense.ndim == 2 and dense.shape[1] > 1 and dense.dtype.kind == "f":
        return "the divergence", mean_divergence(dense, gated)
    return "the mean squared error", mean_squared_error(dense, gated)


def _digest(inputs: Mapping[str, np.ndarray]) -> str:
    return digest({name: flat(array) for name, array in inputs.items()})


def _check_no_gates(prepared: tvm.IRModule) -> None:
    flow = Dataflow.of(prepared)
    for layer in filter(None, (flow.layer_of(var) for var in flow.values)):
        if layer[0] == CHANNEL_GATE:
            raise InvalidInputError(
                f"calibration: the gate of layer {layer[1].name!r} came with the model, accepted is a model without "
                "gates; build it without a calibration"
            )


def _check_mode(mode: str) -> None:
    if mode != "select":
        raise InvalidInputError(f'calibration mode: got {mode!r}, accepted is "select"; gates that boost are trained')


def _checked_ridge(ridge: float) -> float:
    if not isinstance(ridge, int | float) or isinstance(ridge, bool) or not 0 < ridge < float("inf"):
        raise InvalidInputError(f"calibration ridge: got {ridge!r}, accepted is a number above 0")
    return float(ridge)
