"""Kernel families with known times in the place of predicted cycles.

The choice for a whole network adds up cycles of kernels and of changes of layout. Seconds become such cycles by one
number for the network, the median of known seconds over predicted cycles; so the rule is right on average, and what
is known decides between kernels. In a task of which something is known, a family of which nothing is known is taken to
be as far off the rule as the others are.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tvm import relax
from tvm.target import Target

from espalier.core.choices import Choice, KernelTimes, Option
from espalier.ir.dataflow import Dataflow
from espalier.targets.cpu import isa_of

from .choose_kernels import KernelChoice, convolutions_of
from .kernels.problem import ConvProblem
from .select import Family, candidates
from .spaces import choice_of, family_of, is_tunable, options, task_of


@dataclass(frozen=True)
class KnownTimes:
    """What is known of kernels' times, and the target they were taken for."""

    times: KernelTimes
    target: Target

    def of(self, problem: ConvProblem) -> dict[Option, float]:
        """Seconds of the problem's choices that are known."""
        if not is_tunable(problem):
            return {}
        legal = options(problem, isa_of(self.target))
        seconds = self.times.seconds(task_of(problem, self.target), legal)
        return {option: seconds[option.choice] for option in legal if option.choice in seconds}


class TimedFamilies:
    """The families of a network's convolutions."""

    def __init__(self, known: KnownTimes, problems: Iterable[ConvProblem]):
        self.known, self.isa = known, isa_of(known.target)
        self.seconds = {problem: known.of(problem) for problem in problems}
        ratios = [seconds / option.cycles for found in self.seconds.values() for option, seconds in found.items()]
        self.cycle_s = statistics.median(ratios) if ratios else 1.0

    def families(self, problem: ConvProblem) -> list[Family]:
        """As `candidates`, the best known tile of each family in the place of the rule's own."""
        known = self.seconds[problem]
        if not known:
            return candidates(problem, self.isa)
        off = statistics.median(seconds / option.cycles for option, seconds in known.items()) / self.cycle_s
        timed = [self._timed(family, problem, known, off) for family in candidates(problem, self.isa)]
        return sorted(timed, key=lambda family: family.cycles)

    def _timed(self, family: Family, problem: ConvProblem, known: Mapping[Option, float], off: float) -> Family:
        seconds = {option.choice: s for option, s in known.items() if option.choice.family == family.name}
        if not seconds:
            return dataclasses.replace(family, cycles=family.cycles * off)
        best = min(seconds, key=seconds.__getitem__)
        return dataclasses.replace(family_of(problem, self.isa, best), cycles=seconds[best] / self.cycle_s)

    def remarks(self, flow: Dataflow, chosen: Mapping[relax.Var, KernelChoice]) -> list[str]:
        """Which kernels were chosen by known times, one line for each, and how many were not."""
        layers: dict[str, list[str]] = {}
        unknown = 0
        for var, problem in filter(lambda one: is_tunable(one[1]), convolutions_of(flow, self.isa).items()):
            choice = choice_of(chosen[var].family)
            found = {option.choice: seconds for option, seconds in self.seconds[problem].items()}
            if choice in found:
                layers.setdefault(self._remark(problem, choice, found[choice]), []).append(problem.spec.name)
            else:
                unknown += 1
        lines = [f"{', '.join(names)}: {what}" for what, names in layers.items()]
        return [*lines, *([f"{unknown} convolutions: no known times, predicted ones decide"] if unknown else [])]

    def _remark(self, problem: ConvProblem, choice: Choice, seconds: float) -> str:
        source = self.known.times.remark(task_of(problem, self.known.target), choice)
        return f"{choice} takes {1e3 * seconds:.3g} ms ({source})"
