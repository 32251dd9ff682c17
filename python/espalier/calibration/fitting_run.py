"""One pass through a network that fits gates and weights as it goes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from espalier.core.calibration import Gate, LayerWeights
from espalier.core.layers import DenseSpec
from espalier.passes.analysis.gate_sites import GateSite, GateSites

from .convolution import finish, linear, sampled_outputs, sampled_rows
from .fit import choice_variability, contribution, fit_correction, subsample, winners_mask
from .interpreter import Interpreter, Lane, Layer
from .readers import reader_norm
from .selection import Evidence, Selection, saliency

CORRECTION_RIDGE = {"conv2d": 1e-2, "dense": 1e-1}
SAMPLES, PIXELS = 32, 32
"""Corrections are fitted to so many random pixels of the output, the same ones for each so many samples."""


@dataclass
class FittingRun:
    """Gates and weights for the sites of a network, by one choice of channels.

    Two lanes go through the network side by side, as it was ("dense") and with the gates found so far.
    Every layer that a gate reaches is corrected by least squares to give what it gave in the dense lane, then
    its own gate, if it has one, is fitted to what it gives now.

    A layer that follows another layer's gate (`GateSites.followers`) computes its winners too. Where that gate
    is fitted only later, at the sum that the follower is added to, it leaves out the same channels there.

    fit_groups: groups of inputs that are fitted to; the others only go through. on_layer: called with the
        name of each layer that is done.
    gates, weights, masks: what was found, by layer name; masks [S, C_out].
    """

    interpreter: Interpreter
    found: GateSites
    selection: Selection
    reconstruct: bool
    fit_groups: int
    random: np.random.Generator
    on_layer: Callable[[str], None] | None = None
    gates: dict[str, Gate] = field(default_factory=dict)
    weights: dict[str, LayerWeights] = field(default_factory=dict)
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    fraction: float = field(init=False, default=1.0)

    def run(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Fit. Returns the first output [G, N, ...] of the dense and of the gated network."""
        self.fraction = self.fit_groups / len(next(iter(inputs.values())))
        dense = self.interpreter.lane(inputs)
        return tuple(self.interpreter.walk([dense, dict(dense)], self._layer))

    def _layer(self, layer: Layer, lanes: list[Lane]) -> tuple[np.ndarray, np.ndarray]:
        dense, gated = lanes
        x, residual = layer.read(dense)
        branch = linear(layer.spec, x, layer.weight, layer.bias)
        output = finish(layer.spec, branch, residual)
        site, result = self.found.sites.get(layer.name), output
        if any(dense[var] is not gated[var] for var in (layer.x, layer.residual) if var is not None):
            x, aim, residual = layer.read(gated)[0], _sum(branch, residual), layer.read(gated)[1]
            weights = self._corrected(layer, x, aim, residual)
            branch = linear(layer.spec, x, weights.weight, weights.bias)
            result = finish(layer.spec, branch, residual)
        if site:
            result = self._gate(layer, site, x, branch, residual, result)
        leader = self.found.followers.get(layer.name)
        if leader in self.masks:
            result = result * self.masks[leader][:, :, None, None]
        if self.on_layer:
            self.on_layer(layer.name)
        return output, result

    def _corrected(self, layer: Layer, x: np.ndarray, aim: np.ndarray, residual: np.ndarray | None) -> LayerWeights:
        """Weights that give `aim` (before the activation) from the gated input and residual."""
        own = LayerWeights(layer.weight, layer.bias)
        if not self.reconstruct:
            return own
        is_dense = isinstance(layer.spec, DenseSpec)
        ridge = CORRECTION_RIDGE["dense" if is_dense else "conv2d"]
        correction, shift = fit_correction(self._batches(layer, x, aim, residual), ridge)
        weight = layer.weight + correction.transpose(0, 2, 1).reshape(layer.weight.shape)
        self.weights[layer.name] = LayerWeights(weight, layer.bias + shift.reshape(-1))
        return self.weights[layer.name]

    def _batches(
        self, layer: Layer, x: np.ndarray, aim: np.ndarray, residual: np.ndarray | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs (rows of the gated input, what the layer's own weights miss there) for `fit_correction`."""
        groups = getattr(layer.spec, "groups", 1)
        own = layer.weight.reshape(groups, len(layer.weight) // groups, -1).transpose(0, 2, 1)
        for start in range(0, self._fitted(len(x)), SAMPLES):
            part = slice(start, min(start + SAMPLES, self._fitted(len(x))))
            positions = self.random.permutation(int(np.prod(aim.shape[2:])))[:PIXELS]
            missing = aim[part] if residual is None else aim[part] - residual[part]
            missing = sampled_outputs(missing, groups, positions) - layer.bias.reshape(groups, 1, -1)
            rows = sampled_rows(layer.spec, x[part], layer.weight, positions)
            yield rows, missing - rows @ own

    def _gate(self, layer: Layer, site: GateSite, x, branch, residual, result) -> np.ndarray:
        """The layer's output under a gate that is fitted now."""
        gated = branch if site.gate == "branch" else result
        features, fitted = subsample(x), self._fitted(len(x))
        centre = gated[:fitted].mean((0, 2, 3)) if self.reconstruct else None
        target = contribution(gated, reader_norm(self.interpreter.flow, layer.var), centre)
        gate = self.selection.fit(Evidence(features[:fitted], target[:fitted], layer.weight))
        if gate:
            self.gates[site.name] = gate
        mask = winners_mask(saliency(gate, features, site.channels_out, self.random), site.granularity, site.kept)
        self.masks[site.name] = mask
        factor = mask[:, :, None, None]
        return finish(layer.spec, branch * factor, residual) if site.gate == "branch" else result * factor

    def variability(self) -> dict[str, float]:
        """How much the choice of each gate changes between inputs, see `choice_variability`."""
        density = {name: site.kept * site.granularity / site.channels_out for name, site in self.found.sites.items()}
        return {name: choice_variability(mask, density[name]) for name, mask in self.masks.items()}

    def _fitted(self, samples: int) -> int:
        return round(samples * self.fraction)


def mean_contributions(
    interpreter: Interpreter,
    names: Collection[str],
    inputs: Mapping[str, np.ndarray],
    reconstruct: bool,
    on_layer: Callable[[str], None],
) -> dict[str, np.ndarray]:
    """Mean contribution [C] of each channel of the layers `names` in the network without gates, by name.

    reconstruct: whether their readers' weights will be fitted to the gates.
    """
    found = {}

    def evaluate(layer: Layer, lanes: list[Lane]) -> tuple[np.ndarray]:
        x, residual = layer.read(lanes[0])
        y = finish(layer.spec, linear(layer.spec, x, layer.weight, layer.bias), residual)
        if layer.name in names:
            centre = y.mean((0, 2, 3)) if reconstruct else None
            found[layer.name] = contribution(y, reader_norm(interpreter.flow, layer.var), centre).mean(0)
        on_layer(layer.name)
        return (y,)

    interpreter.walk([interpreter.lane(inputs)], evaluate)
    return found


def _sum(branch: np.ndarray, residual: np.ndarray | None) -> np.ndarray:
    return branch if residual is None else branch + residual
