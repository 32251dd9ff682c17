"""Weights of a supernet that was never trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path


def untrained_supernet(path: Path, largest: str = "resnet-cifar-largest", name: str = "supernet-resnet-cifar") -> None:
    """Write what a training of the recipe would have written before its first step, without its start.

    largest: the network that holds all others, as a recipe names it. name: of the recipe.
    """
    from espalier.training.checkpoint import save_weights
    from espalier.training.finished import drawn_network
    from espalier.training.recipe import recipe
    from espalier.training.stored import stored_state

    one = dataclasses.replace(recipe(name), network=largest)
    network = drawn_network(dataclasses.replace(one, start=None, narrowed_from=None))
    save_weights(path, stored_state(network), {"recipe": one.to_dict(), "epochs": [], "ranges": {}})
