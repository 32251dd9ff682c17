"""Known times decide between kernels, and take the place of the rule's own tile."""

from __future__ import annotations

from oracles.graphs import Graph

from espalier.build import prepare
from espalier.codegen.cpu.choose_kernels import choose_kernels, convolutions_of
from espalier.codegen.cpu.select import candidates
from espalier.codegen.cpu.spaces import choice_of, options, task_of
from espalier.codegen.cpu.timed_families import KnownTimes, TimedFamilies
from espalier.ir.dataflow import Dataflow
from espalier.targets.cpu import isa_of
from espalier.targets.resolve import resolve_target

TARGET = resolve_target({"kind": "llvm", "mcpu": "x86-64-v4", "num-cores": 2})
ISA = isa_of(TARGET)


class Known:
    """Seconds by task and choice."""

    def __init__(self, known):
        self.known = known

    def seconds(self, task, options):
        return self.known.get(task, {})

    def digest(self):
        return "known"

    def remark(self, task, choice):
        return "a test"


def flow_of(*channels: int) -> Dataflow:
    """3x3 convolutions of 16x16 images one after another."""
    g = Graph(1, 32, 16, 16)
    y = g.x
    for number, count in enumerate(channels):
        y = g.relu(g.conv(y, f"conv{number}", count))
    return Dataflow.of(prepare(g.module(y)))


def chosen(flow, known):
    """The choice of each convolution, and the remarks."""
    times = TimedFamilies(KnownTimes(Known(known), TARGET), convolutions_of(flow, ISA).values())
    kernels = choose_kernels(flow, ISA, times.families)
    return [choice_of(kernels[var].family) for var in convolutions_of(flow, ISA)], times.remarks(flow, kernels)


def test_without_known_times_the_rule_decides():
    flow = flow_of(32, 64)
    kernels = choose_kernels(flow, ISA)
    expected = [choice_of(kernels[var].family) for var in convolutions_of(flow, ISA)]
    assert chosen(flow, {}) == (expected, ["2 convolutions: no known times, predicted ones decide"])


def test_the_best_known_tile_is_taken():
    flow = flow_of(32, 64)
    first, second = convolutions_of(flow, ISA).values()
    known, fastest = {}, []
    for problem in (first, second):
        winograd = [one for one in options(problem, ISA) if one.choice.family == "winograd"][:6]
        known[task_of(problem, TARGET)] = {one.choice: 1e-9 * one.cycles for one in winograd}
        known[task_of(problem, TARGET)][winograd[5].choice] = 0.5e-9 * winograd[5].cycles
        fastest.append(winograd[5].choice)
    choices, remarks = chosen(flow, known)
    assert choices == fastest
    assert [line.split(":")[0] for line in remarks] == ["conv0", "conv1"]
    assert all("ms (a test)" in line for line in remarks)


def test_a_family_that_is_known_to_be_slow_loses():
    """The rule takes Winograd; it turns out three times as slow as the rule says, direct sums as fast."""
    flow = flow_of(64)
    (problem,) = convolutions_of(flow, ISA).values()
    own = {family.name: family for family in candidates(problem, ISA)}
    assert candidates(problem, ISA)[0].name == "winograd"
    known = {choice_of(own["blocked"]): 1e-9 * own["blocked"].cycles}
    known[choice_of(own["winograd"])] = 3.0 * known[choice_of(own["blocked"])]
    assert chosen(flow, {task_of(problem, TARGET): known})[0] == [choice_of(own["blocked"])]


def test_an_unknown_family_is_as_far_off_as_the_known_one():
    """Half of the rule's speed is no reason to leave a family: the whole layer may be slower than the rule thinks."""
    flow = flow_of(64, 48)
    first, second = convolutions_of(flow, ISA).values()
    own = [candidates(problem, ISA)[0] for problem in (first, second)]
    known = {task_of(p, TARGET): {choice_of(f): s * f.cycles} for p, f, s in zip((first, second), own, (1e-9, 9e-9))}
    assert chosen(flow, known)[0] == [choice_of(family) for family in own]
    assert len(candidates(second, ISA)) > 1
