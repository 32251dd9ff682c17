"""The next points by Bayesian optimization: those of many candidates that are expected to add most hypervolume.

Each objective's losses are put on the quantiles of a normal distribution, since neither a few terrible networks nor a
few very slow ones should decide what the process sees of the others. Candidates are drawn from the space, and changed
from the points that no other beats.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from espalier.core.choice_space import Point, point_text

from .front import front
from .points import distributions, parameters_of, point_of
from .problem import Limit, Problem, constraint_name

STARTS = 20
"""Points that are drawn before anything is modelled."""

BATCH = 5
"""Points that are chosen by one model."""

CANDIDATES, NEIGHBOURS = 1000, 500
"""Drawn from the space, and changed from the front."""

DRAWS = 32
"""From the model's prediction, of which the expected hypervolume is the mean."""


class HypervolumeSampler(optuna.samplers.BaseSampler):
    """An Optuna sampler over a problem's points.

    A limit on how bad an objective may be bounds the hypervolume; points that pass another limit count as the worst
    seen.
    """

    def __init__(self, problem: Problem, seed: int):
        self.problem, self.random, self.seed = problem, np.random.default_rng(seed), seed
        self.chosen: list[Point] = []

    def infer_relative_search_space(self, study, trial: FrozenTrial) -> dict:
        """All dimensions."""
        return distributions(self.problem.space)

    def sample_relative(self, study, trial: FrozenTrial, search_space: dict) -> dict:
        """The next point of the batch; a new batch where there is none."""
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING))
        whole = [one for one in done if len(one.params) == len(search_space)]  # not one that another worker begins now
        seen = {point_text(point_of(self.problem.space, one)) for one in whole}
        measured = [one for one in done if one.state == TrialState.COMPLETE]
        self.chosen = [one for one in self.chosen if point_text(one) not in seen]
        if not self.chosen:
            candidates = self._candidates(seen, measured)
            if not candidates:
                return parameters_of(self.problem.space, self.problem.space.sample(self.random))
            count = min(BATCH, len(candidates))
            if len(measured) < STARTS:
                self.chosen = candidates[: STARTS - len(measured)]
            else:
                self.chosen = self._best(measured, candidates, count)
        return parameters_of(self.problem.space, self.chosen.pop(0))

    def sample_independent(self, study, trial: FrozenTrial, param_name: str, param_distribution):
        """Never needed: every dimension is sampled together with the others."""
        raise RuntimeError(f"{param_name}: sampled alone")

    def _candidates(self, seen, measured: Sequence[FrozenTrial]) -> list[Point]:
        """Points that were not evaluated yet, each once, the drawn ones first."""
        space, found = self.problem.space, {}
        points = [space.sample(self.random) for _ in range(CANDIDATES)]
        if measured:
            within = [one for one in measured if all(by <= 0 for by in one.constraints.values())] or measured
            best = [point_of(space, within[n]) for n in front(self._losses(within))]
            points += [space.mutate(best[self.random.integers(len(best))], self.random) for _ in range(NEIGHBOURS)]
        for point in points:
            found.setdefault(point_text(point), point)
        return [point for text, point in found.items() if text not in seen]

    def _losses(self, measured: Sequence[FrozenTrial]) -> np.ndarray:
        """[N, objectives]."""
        objectives = self.problem.objectives
        losses = np.array([[obj.loss(v) for obj, v in zip(objectives, one.values)] for one in measured])
        others = [constraint_name(n) for n, one in enumerate(self.problem.limits) if not self._is_bound(one)]
        broken = np.array([any(one.constraints[name] > 0 for name in others) for one in measured])
        return np.where(broken[:, None], losses.max(0), losses)

    def _worst(self, losses: np.ndarray) -> np.ndarray:
        """[objectives]: what a point must be better than to count, on the normal quantiles of the losses."""
        worst = _on_normal_quantiles(losses).max(0) + 0.1
        for limit in filter(self._is_bound, self.problem.limits):
            column = self.problem.objectives.index(limit.objective)
            better = (losses[:, column] <= limit.objective.loss(limit.number)).sum()
            worst[column] = min(worst[column], _normal_quantile(better, len(losses)))
        return worst

    def _is_bound(self, limit: Limit) -> bool:
        """Whether it says how bad an objective may be."""
        return limit.objective in self.problem.objectives and limit.is_least == limit.objective.is_maximized

    def _best(self, measured: Sequence[FrozenTrial], candidates: Sequence[Point], count: int) -> list[Point]:
        import torch
        from botorch.optim import optimize_acqf_discrete

        seen = torch.tensor(np.array([self.problem.encode(point_of(self.problem.space, one)) for one in measured]))
        choices = torch.tensor(np.array([self.problem.encode(point) for point in candidates]))
        low, high = torch.cat([seen, choices]).aminmax(dim=0)
        seen, choices = ((one - low) / (high - low).clamp(min=1e-9) for one in (seen, choices))
        losses = self._losses(measured)
        goods = torch.tensor(-_on_normal_quantiles(losses))
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # of a fit that did not converge: its model is used as it is
            torch.manual_seed(self.seed + len(measured))
            acquisition = _expected_improvement(seen, goods, torch.tensor(-self._worst(losses)))
            found, _ = optimize_acqf_discrete(acquisition, count, choices, max_batch_size=256, unique=True)
        numbers = [int((choices == row).all(1).nonzero()[0]) for row in found]
        return [candidates[number] for number in numbers]


def _expected_improvement(rows, goods, worst):
    """Of the hypervolume over `worst`; of a single objective, which has none, of its best value."""
    import torch
    from botorch.acquisition.logei import qLogNoisyExpectedImprovement
    from botorch.acquisition.multi_objective import logei
    from botorch.sampling import SobolQMCNormalSampler

    model, sampler = _fitted(rows, goods), SobolQMCNormalSampler(torch.Size([DRAWS]))
    if goods.shape[1] == 1:
        return qLogNoisyExpectedImprovement(model, rows, sampler, prune_baseline=True)
    # BoTorch would compile a kernel first; killed meanwhile, it leaves a lock that the next search waits at
    logei._load_attempted = True
    return logei.qLogNoisyExpectedHypervolumeImprovement(model, worst, rows, sampler, prune_baseline=True)


def _fitted(rows, goods):
    """A Gaussian process for each objective."""
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import ModelListGP, SingleTaskGP
    from gpytorch.mlls import SumMarginalLogLikelihood

    model = ModelListGP(*(SingleTaskGP(rows, goods[:, n : n + 1]) for n in range(goods.shape[1])))
    fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
    return model


def _on_normal_quantiles(losses: np.ndarray) -> np.ndarray:
    """Each column's ranks as quantiles of the normal distribution, equal losses at equal ones."""
    from scipy.stats import rankdata

    return _normal_quantile(rankdata(losses, axis=0) - 0.5, len(losses))


def _normal_quantile(smaller: np.ndarray | float, count: int):
    """Of a loss that so many of `count` are smaller than; half of one counts for itself."""
    from scipy.stats import norm

    return norm.ppf(np.clip(smaller, 0.25, count - 0.25) / count)
