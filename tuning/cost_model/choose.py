"""Cost models by name, and back from their files."""

from __future__ import annotations

from pathlib import Path

from espalier.core.errors import InvalidInputError

from .analytic import Analytic, read_header
from .features import CONVOLUTIONS
from .gaussian_process import ResidualProcess
from .gradient_boosting import BoostedTrees
from .interface import CostModel, Features
from .random_order import RandomOrder

PRETRAINED = "pretrained"
"""The name of the model that comes with the package: a Gaussian process that has seen tasks of common networks
(`benchmarks/bench_leave_one_out.py` says which and on what machine)."""

PRETRAINED_FILE = Path(__file__).with_name("pretrained.npz")

LEARNED = {model.name: model for model in (BoostedTrees, ResidualProcess)}
"""Models that see features of a choice."""

MODELS = {model.name: model for model in (Analytic, BoostedTrees, ResidualProcess, RandomOrder)}


def new_model(name: str, features: Features = CONVOLUTIONS) -> CostModel:
    """A model that has learned nothing, or the one of the package; features: of what it is to learn.

    Raises InvalidInputError for an unknown name, and for the package's model with other features than it has seen.
    """
    if name == PRETRAINED:
        return load_model(PRETRAINED_FILE, features)
    if name not in MODELS:
        raise InvalidInputError(f"cost model: got {name!r}, accepted are {', '.join((PRETRAINED, *MODELS))}")
    return LEARNED[name](features=features) if name in LEARNED else MODELS[name]()


def load_model(path, features: Features = CONVOLUTIONS) -> CostModel:
    """What a model's `save` wrote; InvalidInputError for anything else."""
    path = Path(path)
    if path.suffix == Analytic.suffix:
        return MODELS.get(read_header(path).get("model"), Analytic).load(path)
    by_suffix = {model.suffix: model for model in LEARNED.values()}
    if path.suffix not in by_suffix:
        accepted = ", ".join(sorted({model.suffix for model in MODELS.values()}))
        raise InvalidInputError(f"cost model {path}: got the ending {path.suffix!r}, accepted are {accepted}")
    return by_suffix[path.suffix].load(path, features)
