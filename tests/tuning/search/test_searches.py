"""What every search keeps to, and what each is for."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.tuning import SPACES, exact_samples, true_seconds

from espalier.tuning.cost_model.choose import MODELS, new_model
from espalier.tuning.search.guided import Guided
from espalier.tuning.tune import SEARCHES

TASK, SPACE = next(iter(SPACES.items()))
BEST = min(true_seconds(TASK, one) for one in SPACE)


def propose(name: str, seen, model="analytic", count: int = 4, seed: int = 0, space=SPACE):
    return SEARCHES[name]().propose(TASK, space, seen, new_model(model), count, np.random.default_rng(seed))


def found_after(name: str, model: str, trials: int, seed: int = 0) -> float:
    """The best time that a search finds over the true best."""
    seen, samples, cost, search = {}, [], new_model(model), SEARCHES[name]()
    random = np.random.default_rng(seed)
    for _ in range(trials // 4):
        for option in search.propose(TASK, SPACE, seen, cost, 4, random).options:
            seen[option.choice] = true_seconds(TASK, option)
            samples += [one for one in exact_samples(10**6) if one.task == TASK and one.option == option]
        cost.fit(samples)
    return min(seen.values()) / BEST


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("model", MODELS)
def test_a_batch_is_new_and_no_larger_than_asked(name, model):
    seen = {option.choice: 1e-3 for option in SPACE[::2]}
    found = propose(name, seen, model)
    assert len({one.choice for one in found.options} - seen.keys()) == 4
    assert found.gain_s >= 0
    assert len(propose(name, {}, model, count=1, space=SPACE[:3]).options) == 1


@pytest.mark.parametrize("name", SEARCHES)
def test_a_space_has_an_end(name):
    space = SPACE[:6]
    assert set(propose(name, {}, count=9, space=space).options) == set(space)
    last = propose(name, {one.choice: np.inf for one in space[:5]}, space=space)
    assert last.options == (space[5],)
    assert propose(name, {one.choice: 1.0 for one in space}, space=space).options == ()


def test_the_rules_own_choice_is_in_the_first_batch():
    for model in MODELS:
        assert SPACE[0] in propose("guided", {}, model).options


def test_a_hopeless_prediction_hopes_for_nothing():
    assert propose("guided", {SPACE[0].choice: 1e-12}, "analytic").gain_s == 0
    assert propose("guided", {SPACE[0].choice: 1.0}, "analytic").gain_s > 0.9


def test_a_batch_does_not_hold_the_same_bet_twice():
    """Two options that rise and fall together, and a third of its own: the third joins the first."""
    gains = np.array([[1.0, 0.9, 0.0], [0.0, 0.0, 0.5]])
    from espalier.tuning.search.guided import _greedy

    assert _greedy(gains, np.zeros(3), 2, []) == ([0, 2], 0.75)


def test_draws_are_repeatable():
    one, same, other = (propose("random", {}, seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    assert propose("guided", {}, "gp", seed=1) == propose("guided", {}, "gp", seed=1)


def test_guided_by_the_process_twelve_trials_come_near_the_best():
    assert found_after(Guided.name, "gp", 12) <= 1.03


def test_guided_is_better_than_random():
    random = np.mean([found_after("random", "random", 12, seed) for seed in range(10)])
    assert found_after(Guided.name, "gp", 12) < random
