"""Boosted trees that rank the choices of a task by named features.

Trees learn an order within each task (pairwise ranking), or the residual of the analytic rule (regression). A ranking
has no unit: the level of its prediction is the rule's, the distance between choices a straight line through what was
measured.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from espalier.core.choices import Option, Task
from espalier.core.errors import InvalidInputError

from .analytic import NO_CLOCK_LOG_S
from .features import CONVOLUTIONS
from .interface import FORMAT, CostModel, Features, Prediction, Sample, check_header, fitted_log_cycle_s, log_cycles

RANKING, REGRESSION = "rank:pairwise", "reg:squarederror"
PARAMETERS = {"max_depth": 6, "eta": 0.1, "min_child_weight": 1, "subsample": 0.9, "nthread": 1, "verbosity": 0}
ROUNDS = 150
META = "espalier"


class BoostedTrees(CostModel):
    """XGBoost. objective: RANKING or REGRESSION. seed: of its sampling. features: what it sees of a choice."""

    name, suffix = "xgboost", ".ubj"

    def __init__(self, objective: str = RANKING, seed: int = 0, features: Features = CONVOLUTIONS) -> None:
        self.objective, self.seed, self.features = objective, seed, features
        self.log_cycle_s, self.slope, self.trees = NO_CLOCK_LOG_S, 0.0, None

    def fit(self, samples: Sequence[Sample]) -> None:
        import xgboost

        self.trees, self.log_cycle_s = None, fitted_log_cycle_s(samples) if samples else NO_CLOCK_LOG_S
        if not samples:
            return
        ordered = sorted(samples, key=lambda one: one.task.text)
        tasks = np.unique([one.task.text for one in ordered], return_inverse=True)[1]
        rows = np.concatenate([self.features.rows(one.task, [one.option]) for one in ordered])
        wanted = self._wanted(ordered, tasks)
        data = xgboost.DMatrix(rows, wanted, feature_names=list(self.features.names))
        if self.objective == RANKING:
            data.set_info(qid=tasks)
        parameters = {**PARAMETERS, "objective": self.objective, "seed": self.seed}
        self.trees = xgboost.train(parameters, data, ROUNDS)
        self.slope = self._fitted_slope(rows, ordered, tasks)

    def predict(self, task: Task, options: Sequence[Option]) -> Prediction:
        rule = log_cycles(options) + self.log_cycle_s
        if self.trees is None:
            return Prediction.certain(rule)
        scores = self._scores(self.features.rows(task, options))
        if self.objective == REGRESSION:
            return Prediction.certain(rule + scores)
        return Prediction.certain(np.median(rule) + self.slope * (scores - np.median(scores)))

    def save(self, path: Path) -> None:
        if self.trees is None:
            raise InvalidInputError(f"cost model {path}: nothing was learned yet, fit it first")
        header = {"format": FORMAT, "model": self.name, "objective": self.objective}
        learned = {"seed": self.seed, "log_cycle_s": self.log_cycle_s, "slope": self.slope}
        learned["features"] = list(self.features.names)
        self.trees.set_attr(**{META: json.dumps({**header, **learned})})
        self.trees.save_model(path)

    @classmethod
    def load(cls, path: Path, features: Features = CONVOLUTIONS) -> BoostedTrees:
        import xgboost

        trees = xgboost.Booster({"nthread": 1})
        try:
            trees.load_model(path)
            header = json.loads(trees.attr(META) or "{}")
        except (xgboost.core.XGBoostError, ValueError) as error:
            raise InvalidInputError(f"cost model {path}: {str(error).splitlines()[0]}") from None
        check_header(path, header, {"model": cls.name, "features": list(features.names)})
        model = cls(header["objective"], header["seed"], features)
        model.trees, model.log_cycle_s, model.slope = trees, header["log_cycle_s"], header["slope"]
        return model

    def _wanted(self, samples: Sequence[Sample], tasks: np.ndarray) -> np.ndarray:
        """What the trees learn [N]: residuals, or whole numbers from 0 that are the greater, the faster in a task."""
        if self.objective == REGRESSION:
            return np.log([one.seconds / one.option.cycles for one in samples]) - self.log_cycle_s
        seconds, relevance = np.array([one.seconds for one in samples]), np.zeros(len(samples))
        for number in np.unique(tasks):
            mine = np.flatnonzero(tasks == number)
            order = np.argsort(np.argsort(-seconds[mine], kind="stable"), kind="stable")
            relevance[mine] = np.floor(31 * order / max(1, len(mine) - 1))  # XGBoost's gain is 2^relevance - 1
        return relevance

    def _scores(self, rows: np.ndarray) -> np.ndarray:
        import xgboost

        return self.trees.predict(xgboost.DMatrix(rows, feature_names=list(self.features.names))).astype(float)

    def _fitted_slope(self, rows: np.ndarray, samples: Sequence[Sample], tasks: np.ndarray) -> float:
        """Log seconds for each unit of score, by least squares within the tasks; never positive."""
        scores, measured = self._scores(rows), np.log([one.seconds for one in samples])
        for number in np.unique(tasks):
            mine = tasks == number
            scores[mine] -= scores[mine].mean()
            measured[mine] -= measured[mine].mean()
        return min(-1e-6, float(scores @ measured / max(scores @ scores, 1e-12)))
