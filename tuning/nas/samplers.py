"""How the next point is chosen, by name. Optuna's own default, TPE, is none of them.

References
    Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE TEC 2002.
    Ament et al., Unexpected Improvements to Expected Improvement for Bayesian Optimization, NeurIPS 2023 (qLogNEHVI).
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import TYPE_CHECKING

from espalier.core.errors import InvalidInputError, ToolNotFoundError

from ..budget import Budget
from .problem import Problem

if TYPE_CHECKING:
    import optuna

SAMPLERS = {
    "nsga2": "NSGA-II of Optuna: for hundreds of evaluations",
    "gp": "Gaussian processes of Optuna (GPSampler): for up to about 50",
    "qlognehvi": "Gaussian processes and qLogNEHVI of BoTorch over drawn candidates: for up to a few hundred",
    "random": "every point with the same chance: the control",
}
"""Name -> what it is."""

AUTO, SMALL_S, SMALL_TRIALS = "auto", 900, 300
"""A budget of up to so many seconds or trials is small: NSGA-II has had few generations by then, and a model of so few
points is fitted soon."""

FEW_OBJECTIVES = 2
"""Of more, qLogNEHVI takes much longer to choose a network than it takes to judge one."""

POPULATION = 20


def sampler_for(name: str, budget: Budget, objectives: int, known: int) -> str:
    """What AUTO stands for: qLogNEHVI for a small budget, few objectives and a study that is small, where BoTorch is
    installed, else NSGA-II; any other name is its own.

    objectives: how many there are. known: points that the study has already.
    """
    if name != AUTO:
        return name
    is_short = (budget.seconds or 0) <= SMALL_S and max(budget.trials or 0, known) <= SMALL_TRIALS
    return "qlognehvi" if is_short and objectives <= FEW_OBJECTIVES and _has_botorch() else "nsga2"


def require_optuna():
    """The optuna package, silenced; ToolNotFoundError with the install command if it is missing."""
    try:
        import optuna
    except ImportError:
        raise ToolNotFoundError('Optuna is not installed; install it with: pip install "espalier[search]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def make_sampler(name: str, problem: Problem, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler of this name; InvalidInputError with the names there are."""
    optuna = require_optuna()
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=True)
    if name == "qlognehvi":
        if not _has_botorch():
            raise ToolNotFoundError('BoTorch is not installed; install it with: pip install "espalier[search]"')
        from .bayesian import HypervolumeSampler

        return HypervolumeSampler(problem, seed)
    raise InvalidInputError(f"sampler: got {name!r}, accepted are {', '.join((AUTO, *SAMPLERS))}")


def _has_botorch() -> bool:
    return importlib.util.find_spec("botorch") is not None
