"""The network of a recipe, and a finished one from its weights alone."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ..core.architecture import Architecture
from ..core.calibration import Range
from ..core.errors import InvalidInputError
from ..core.files import sha256_of
from .checkpoint import is_finished, load_weights, read_weights, with_state
from .families import LARGEST, FamilyNetwork
from .gates import found_gates, insert_gates, set_density
from .networks import NETWORKS
from .quantizers import unfitted
from .recipe import Recipe
from .stored import restored_state
from .supernet import extract
from .supernet_gates import gate_blocks

EXAMPLE = torch.zeros(1, 3, 32, 32)
"""An input of every network in `NETWORKS`."""


def drawn_network(recipe: Recipe) -> nn.Module:
    """The recipe's network with the weights that its seed draws, and with a supernet's gates; torch's own random state
    is left alone."""
    network = _drawn(recipe.network, recipe.seed)
    if recipe.drawn_densities:
        gate_blocks(network)
    return network


def _drawn(name: str, seed: int) -> nn.Module:
    networks = {**NETWORKS, **LARGEST}
    if is_architecture(name):
        networks[name] = partial(FamilyNetwork, Architecture.parse(name))
    if name not in networks:
        raise InvalidInputError(f"network: got {name!r}, accepted are {', '.join(networks)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return networks[name]()


def is_architecture(network: str) -> bool:
    """Whether a recipe's network is the text of an architecture, not a name."""
    return "(" in network


def starting_network(recipe: Recipe, start: Path) -> nn.Module:
    """What the recipe begins with: drawn weights, those of a state dict, or a finished training, with its gates.

    An architecture begins with its part of a supernet. A recipe with `narrowed_from` begins with a part of this
    network, which is of that kind.
    start: the file, or the folder in which the recipe's own is. Raises InvalidInputError for another network's file.
    """
    expected = recipe.narrowed_from or recipe.network
    network = _drawn(expected, recipe.seed)
    path = _starting_file(recipe, start)
    if path is None:
        return network
    if not is_finished(path):
        return load_weights(network, path)
    found = recipe_of(path)
    if found.space and is_architecture(expected):
        return extract(load_finished(path), Architecture.parse(expected))
    if found.network != expected:
        raise InvalidInputError(f"start {path}: holds the network {found.network}, accepted is {expected}")
    return load_finished(path)


def _starting_file(recipe: Recipe, start: Path) -> Path | None:
    return recipe.start and (start if start.is_file() else start / recipe.start)


def file_digests(recipe: Recipe, start: Path) -> dict[str, str]:
    """Of the weights that a training begins with and of its teacher's, by the recipe's field; `start` as above."""
    teacher = start / recipe.teacher[1] if recipe.teacher and recipe.distillation else None
    files = {"start": _starting_file(recipe, start), "teacher": teacher}
    return {field: sha256_of(path) for field, path in files.items() if path}


def recipe_of(path: Path) -> Recipe:
    """What a finished training's weights come from; InvalidInputError for a file that is damaged or something else."""
    return Recipe.from_dict(read_weights(path)[1]["recipe"])


def teaching_network(recipe: Recipe, start: Path, network: nn.Module) -> nn.Module | None:
    """What the recipe distils, in inference mode: its own teacher, or a copy of the network it begins with; or nothing.

    start: the folder of the teacher's weights. Raises InvalidInputError for another network's file.
    """
    if not recipe.distillation:
        return None
    if not recipe.teacher:
        return copy.deepcopy(network).eval()
    name, path = recipe.teacher[0], start / recipe.teacher[1]
    if is_finished(path) and recipe_of(path).network == name:
        return load_finished(path)
    return load_weights(_drawn(name, recipe.seed), path).eval()


def with_gates(network: nn.Module, recipe: Recipe) -> nn.Module:
    """The network with the gates that the recipe gives it, if any and if it has none."""
    if not recipe.is_gated or found_gates(network):
        return network
    return insert_gates(network, recipe.plan, EXAMPLE)


def load_finished(path) -> nn.Module:
    """The network of the weights that a training wrote at its end, at its plan's densities, in inference mode.

    Raises InvalidInputError for a file that is damaged or something else.
    """
    state, facts = read_weights(Path(path))
    recipe = Recipe.from_dict(facts["recipe"])
    model = with_gates(drawn_network(recipe), recipe)
    if recipe.is_gated:
        set_density(model, recipe.lowest_density)
    if recipe.is_quantized:
        ranges = {name: Range(*ends) for name, ends in facts["ranges"].items()}
        model = unfitted(model, recipe.plan, EXAMPLE, ranges, is_incremental=False)
    return with_state(model, restored_state(state), path).eval()
