"""Gates for timing: what they choose is random, the work is that of fitted ones."""

from __future__ import annotations

import numpy as np

import espalier
from espalier.build import prepare
from espalier.passes.analysis.gate_sites import GateSites


def random_gates(mod, plan: espalier.Plan, seed: int = 0) -> espalier.Calibration:
    """A gate with a random predictor for each layer that the plan gates, so that every input has its own channels."""
    rng = np.random.default_rng(seed)
    sites = GateSites.of(prepare(mod), plan).sites.values()
    return espalier.Calibration(
        {
            site.name: espalier.Gate(
                rng.standard_normal((site.channels_in, site.channels_out), "float32"),
                np.ones(site.channels_out, "float32"),
            )
            for site in sites
        }
    )
