"""Finished trainings whose weights lie under benchmarks/checkpoints, one file `<recipe>.pt` each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from espalier.core.errors import InvalidInputError
from espalier.training.checkpoint import read_weights
from espalier.training.finished import load_finished
from espalier.training.recipe import Recipe

from . import REPOSITORY

FOLDER = REPOSITORY / "benchmarks" / "checkpoints"


@dataclass(frozen=True)
class Finished:
    """A trained network. epochs: how long it was trained."""

    name: str
    recipe: Recipe
    epochs: int
    model: torch.nn.Module

    @property
    def network(self) -> str:
        """The network that this is, or is a narrower form of."""
        return self.recipe.network.partition("-w")[0]

    @property
    def width(self) -> str:
        """Percent of that network's channels, empty for all."""
        return self.recipe.network.partition("-w")[2]

    @property
    def label(self) -> str:
        """What tells it from others of the same network."""
        if not self.recipe.is_gated:
            return f"width {self.width or 100} %"
        placement = "" if self.recipe.plan.placement == "inner" else f" {self.recipe.plan.placement}"
        return f"d = {self.recipe.lowest_density:g}{placement}"


def finished(path: Path) -> Finished:
    """One finished training; InvalidInputError if the file is something else."""
    _, facts = read_weights(path)
    return Finished(path.stem, Recipe.from_dict(facts["recipe"]), len(facts["epochs"]), load_finished(path))


def all_finished(folder: Path = FOLDER) -> list[Finished]:
    """All of a folder; InvalidInputError, which says how to get one, if there are none."""
    paths = sorted(folder.glob("*.pt"))
    if not paths:
        raise InvalidInputError(
            f"{folder.name}: holds no finished weights; train some with python -m espalier.training RECIPE and put the "
            "weights.pt of its output here as RECIPE.pt"
        )
    return [finished(path) for path in paths]
