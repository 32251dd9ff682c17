"""Layers under gates, in numpy: what a walk through a network calls for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from espalier.core.calibration import Gate
from espalier.passes.analysis.gate_sites import GateSite, GateSites

from .convolution import finish, linear
from .fit import subsample, winners_mask
from .interpreter import Lane, Layer
from .selection import saliency


class GatedLayers:
    """Computes layers under gates that are given, or under channels that `random` draws.

    on_gate: called with each gated layer's name, ss(x) [S, C_in] and the saliencies [S, C_out].
    """

    def __init__(
        self,
        found: GateSites,
        gates: Mapping[str, Gate],
        random: np.random.Generator | None = None,
        on_gate: Callable[[str, np.ndarray, np.ndarray], None] | None = None,
    ):
        self.found, self.gates, self.random, self.on_gate, self.masks = found, gates, random, on_gate, {}

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
        features = subsample(x)
        scores = saliency(gate, features, site.channels_out, self.random)
        if self.on_gate:
            self.on_gate(site.name, features, scores)
        mask = winners_mask(scores, site.granularity, site.kept)
        self.masks[site.name] = mask
        return (mask * scores if gate and gate.mode == "boost" else mask)[:, :, None, None]
