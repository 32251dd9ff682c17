"""Budgets: texts, and when they are spent."""

from __future__ import annotations

import pytest

from espalier.core.errors import InvalidInputError
from espalier.tuning import budget as module
from espalier.tuning.budget import Budget


@pytest.mark.parametrize(
    ("text", "seconds", "trials"),
    [
        ("60s", 60, None),
        ("1.5m", 90, None),
        (" 2 H ", 7200, None),
        ("3min", 180, None),
        ("200trials", None, 200),
        ("1 trial", None, 1),
    ],
)
def test_texts(text, seconds, trials):
    assert (Budget.parse(text).seconds, Budget.parse(text).trials) == (seconds, trials)


@pytest.mark.parametrize("text", ["", "60", "0s", "-1s", "s", "1.5trials", "0trials", "10 years", "1e3s"])
def test_other_texts_are_refused(text):
    with pytest.raises(InvalidInputError, match="budget: got .* accepted are 60s"):
        Budget.parse(text)


def test_trials_are_not_exceeded():
    budget = Budget(trials=6)
    budget.start()
    assert budget.batch_of(4) == 4
    budget.spend(4, 1.0)
    assert (budget.batch_of(4), budget.share_spent()) == (2, 4 / 6)
    budget.spend(2, 1.0)
    assert (budget.batch_of(4), budget.share_spent()) == (0, 1)


def test_a_batch_that_would_not_end_in_time_is_not_begun(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    budget = Budget(seconds=10)
    budget.start()
    assert budget.batch_of(4) == 4
    now[0] += 4
    budget.spend(4, 4.0)
    assert (budget.batch_of(4), budget.share_spent()) == (4, 0.4)
    now[0] += 4
    budget.spend(4, 4.0)
    assert (budget.batch_of(4), budget.seconds_spent()) == (0, 8)
