"""The network of a recipe, and a finished one from its weights alone."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..core.errors import InvalidInputError
from .checkpoint import read_weights, with_state
from .gates import insert_gates, set_density
from .networks import NETWORKS
from .recipe import Recipe

EXAMPLE = torch.zeros(1, 3, 32, 32)
"""An input of every network in `NETWORKS`."""


def drawn_network(recipe: Recipe) -> nn.Module:
    """The recipe's network with the weights that its seed draws; torch's own random state is left alone."""
    if recipe.network not in NETWORKS:
        raise InvalidInputError(f"network: got {recipe.network!r}, accepted are {', '.join(NETWORKS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return NETWORKS[recipe.network]()


def with_gates(network: nn.Module, recipe: Recipe) -> nn.Module:
    """The network with the gates that the recipe gives it, if any."""
    return insert_gates(network, recipe.plan, EXAMPLE) if recipe.is_gated else network


def load_finished(path) -> nn.Module:
    """The network of the weights that a training wrote at its end, at its plan's densities, in inference mode.

    Raises InvalidInputError for a file that is damaged or something else.
    """
    state, facts = read_weights(Path(path))
    recipe = Recipe.from_dict(facts["recipe"])
    model = with_state(with_gates(drawn_network(recipe), recipe), state, path)
    if recipe.is_gated:
        set_density(model, recipe.lowest_density)
    return model.eval()
