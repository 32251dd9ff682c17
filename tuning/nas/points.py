"""Points of a space as Optuna's parameters: the place of a number among its dimension's, and texts as they are."""

from __future__ import annotations

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial

from espalier.core.choice_space import ChoiceSpace, Point


def distributions(space: ChoiceSpace) -> dict[str, BaseDistribution]:
    """By dimension."""
    return {
        name: CategoricalDistribution(values) if isinstance(values[0], str) else IntDistribution(0, len(values) - 1)
        for name, values in space.dimensions.items()
    }


def parameters_of(space: ChoiceSpace, point: Point) -> dict[str, int | str]:
    """What a trial at the point has; of dimensions that are idle there the first value."""
    whole = {name: point.get(name, values[0]) for name, values in space.dimensions.items()}
    return {
        name: value if isinstance(value, str) else space.dimensions[name].index(value) for name, value in whole.items()
    }


def point_of(space: ChoiceSpace, trial: FrozenTrial | optuna.Trial) -> Point:
    """The point of a trial."""
    whole = {
        name: values[trial.params[name]] if not isinstance(values[0], str) else trial.params[name]
        for name, values in space.dimensions.items()
    }
    return space.settled(whole)
