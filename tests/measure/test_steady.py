"""Steady times on a machine that is simulated: quiet, noisy, or busy with something else."""

from __future__ import annotations

import math

import numpy as np
import pytest

from espalier.measure.steady import Reference, SteadyRule, steady_times

RULE = SteadyRule(least=3, most=12, tight=0.01)


class Machine:
    """Runs contenders of known times; noise: relative; slow(call number) times slower while it does something else."""

    def __init__(self, noise: float = 0.0, slow=lambda number: 1.0):
        self.random, self.noise, self.slow, self.calls = np.random.default_rng(0), noise, slow, {}

    def contender(self, name: str, seconds: float):
        def call() -> float:
            self.calls[name] = self.calls.get(name, 0) + 1
            factor = self.slow(sum(self.calls.values()))
            return seconds * factor * (1 + self.noise * abs(self.random.standard_normal()))

        return call

    def times(self, rule: SteadyRule = RULE, best_s: float = math.inf, **contenders: float):
        calls = {name: self.contender(name, seconds) for name, seconds in contenders.items()}
        reference = Machine(slow=lambda number: self.slow(sum(self.calls.values()))).contender("reference", 1e-3)
        return steady_times(calls, Reference(reference, best_s), rule)


def test_a_quiet_machine_needs_few_samples():
    machine = Machine()
    found = machine.times(a=1.0, b=2.0)
    assert {name: (one.timing.median_s, one.calm) for name, one in found.items()} == {"a": (1, True), "b": (2, True)}
    assert machine.calls == {"a": 3, "b": 3}
    assert found["a"].spread == 0


def test_noise_takes_more_samples_until_the_interval_is_tight():
    quiet, noisy = Machine(0.002), Machine(0.1)
    quiet.times(a=1.0)
    found = noisy.times(a=1.0)
    assert quiet.calls["a"] < noisy.calls["a"] <= RULE.most
    assert 1.0 < found["a"].timing.median_s < 1.2
    assert found["a"].spread > 0


def test_what_is_clearly_slower_is_not_measured_further():
    machine = Machine(0.04)
    machine.times(SteadyRule(3, 30, 0.001), fast=1.0, slow=3.0)
    assert machine.calls["slow"] < machine.calls["fast"] == 30


def test_rounds_while_the_machine_does_something_else_do_not_count():
    machine = Machine(slow=lambda number: 5.0 if 4 <= number <= 9 else 1.0)
    found = machine.times(a=1.0, b=2.0)
    assert [(one.timing.median_s, one.timing.quartile3_s, one.calm) for one in found.values()] == [
        (1, 1, True),
        (2, 2, True),
    ]


def test_a_machine_that_is_always_busy_says_so():
    found = Machine(slow=lambda number: 2.0).times(best_s=1e-3, a=1.0)
    assert found["a"].timing.median_s == 2
    assert not found["a"].calm


def test_the_best_reference_is_remembered():
    reference = Reference(iter([3.0, 2.0, 2.1, 2.3]).__next__)
    assert [reference.is_calm(1.1) for _ in range(4)] == [True, True, True, False]
    assert reference.best_s == 2.0


@pytest.mark.parametrize("most", [3, 8])
def test_there_is_always_an_end(most):
    machine = Machine(2.0, slow=lambda number: 1.0 + number % 3)
    machine.times(SteadyRule(3, most, 1e-9), a=1.0, b=1.5)
    assert max(machine.calls.values()) <= 2 * most
