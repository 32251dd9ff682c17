"""Densities at the ends of the stairs: as many channels as take no more time.

A kernel computes whole vectors and whole register tiles, on a GPU whole waves of blocks, so the time of a layer over
the number of channels that its gate keeps is a staircase. A density in the middle of a stair pays for channels that it
does not get. Where a plan leaves a layer's density open, that is gives only the default's, it is raised to the end of
the stair on which it lies: the time is of the layer itself and of all layers that read its list, as a cost model
predicts them.

On a GPU a gate is a launch or two of its own, and a small layer saves less than that. Gates without which the network
takes no longer, by prediction, are left out: the layer then has all its channels and is computed as the model has it.
That is exact where a gate would only be fitted later; a gate that is fitted already changes what the network computes,
and stays.
Radu et al., Performance Aware Convolutional Neural Network Channel Pruning for Embedded GPUs, IISWC 2019 (section IV).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax
from tvm.target import Target

from espalier.build import lowered, plan_for, prepare
from espalier.codegen.cpu.choose_kernels import convolutions_of
from espalier.codegen.cpu.kernels.problem import ConvProblem
from espalier.codegen.cpu.select import candidates
from espalier.codegen.cpu.spaces import choice_of, task_of
from espalier.codegen.cuda.fold_strides import FoldStrides
from espalier.codegen.cuda.generate import lowered_on
from espalier.codegen.cuda.kernels.choose_schedule import choose_schedule, predicted_s
from espalier.codegen.cuda.kernels.conv2d import Problem
from espalier.codegen.cuda.lower_layers import products_of
from espalier.core import ir_names
from espalier.core.choices import Option
from espalier.core.errors import InvalidPlanError, UnsupportedTargetError
from espalier.core.layers import ActiveList
from espalier.core.plan import Plan
from espalier.ir.dataflow import Dataflow, shape_of
from espalier.passes.analysis.gate_sites import GateSites
from espalier.targets.cpu import isa_of
from espalier.targets.gpu import gpu_of
from espalier.targets.resolve import resolve_target

from .cost_model.analytic import Analytic
from .cost_model.interface import CostModel
from .placeholder import placeholder_calibration

FREE = 0.01
"""Of the time of the layers that are concerned: a stair is so level."""

LISTS = ("winners", "active")
"""Arguments of a kernel, and fields of its operator: the channels that it computes, and those that it reads."""


@dataclass(frozen=True)
class AlignedLayer:
    """A gate whose density was open. kept, aligned: channels that run, as given and at the end of the stair.

    aligned is channels where the gate is left out. seconds, aligned_s: predicted, of the layer, of all that read its
    list, and on a GPU of the gate.
    """

    name: str
    channels: int
    kept: int
    aligned: int
    seconds: float
    aligned_s: float


def align_density(
    mod: tvm.IRModule, target, plan: Plan, model: CostModel | None = None, fitted: Collection[str] = ()
) -> tuple[Plan, tuple[AlignedLayer, ...]]:
    """The plan with the density of every gate that it leaves open at the end of its stair, and what that changes.

    target: llvm or cuda; no device is needed. model: predicts kernels of llvm; None for the analytic rule.
    fitted: names of gates that are there already, none of which is left out.
    Gates follow in program order, each given those before it.
    Raises InvalidPlanError if there is no such gate, UnsupportedTargetError for an FPGA, and what `build` raises.
    """
    resolved = resolve_target(target)
    kernels = KERNELS.get(str(resolved.kind.name))
    if kernels is None:
        raise UnsupportedTargetError(f"aligned density: got the target {target}, accepted are llvm and cuda")
    plan = plan_for(mod, plan)
    sites = GateSites.of(prepare(mod), plan).sites  # without gates that came with the model, whose lists are fixed
    open_ones = [name for name in sites if not plan.sets(name, "density")]
    if not open_ones:
        raise InvalidPlanError("aligned density: the plan leaves no gate open; accepted is a default density below 1")
    network = _Network(mod, plan, kernels(resolved, model))
    gone = network.leave_out([name for name in open_ones if name not in fitted])
    found = tuple(
        gone.get(name) or network.align(name, *gate) for name, gate in network.gates.items() if name in open_ones
    )
    layers = {name: dict(settings) for name, settings in plan.layers.items()}
    for one in found:
        layers.setdefault(one.name, {})["density"] = one.aligned / one.channels
    return dataclasses.replace(plan, layers=layers), found


class _CpuKernels:
    """The convolutions of a network, and how long the fastest kernel of one takes."""

    def __init__(self, target: Target, model: CostModel | None):
        self.target, self.isa, self.model = target, isa_of(target), model or Analytic()

    def prepared(self, mod: tvm.IRModule) -> tvm.IRModule:
        """As its kernels compute it."""
        return mod

    def problems(self, flow: Dataflow) -> Mapping[relax.Var, ConvProblem]:
        return convolutions_of(flow, self.isa)

    def seconds(self, problem: ConvProblem) -> float:
        options = [Option(choice_of(one), one.cycles) for one in candidates(problem, self.isa)]
        return float(np.exp(self.model.predict(task_of(problem, self.target), options).log_seconds.min()))

    def with_list(self, problem: ConvProblem, role: str, kept: ActiveList) -> ConvProblem:
        return dataclasses.replace(problem, spec=dataclasses.replace(problem.spec, **{role: kept}))

    def gate_seconds(self, mod: tvm.IRModule) -> Mapping[str, float]:
        """Nothing is known of gates."""
        return {}


class _GpuKernels:
    """The matrix products of a network, dense layers included, under the schedules that the rule chooses."""

    def __init__(self, target: Target, model: CostModel | None):
        if model is not None:
            raise UnsupportedTargetError("aligned density: a cost model is for llvm, for cuda there is the rule only")
        self.gpu, self.known = gpu_of(target), {}

    def prepared(self, mod: tvm.IRModule) -> tvm.IRModule:
        """As its kernels compute it."""
        return FoldStrides()(mod)

    def problems(self, flow: Dataflow) -> Mapping[relax.Var, Problem]:
        return products_of(flow, self.gpu)

    def seconds(self, problem: Problem) -> float:
        if problem not in self.known:
            self.known[problem] = predicted_s(problem, choose_schedule(problem, self.gpu), self.gpu)
        return self.known[problem]

    def with_list(self, problem: Problem, role: str, kept: ActiveList | None) -> Problem:
        """The problem as it is where its kernel does not follow the list. None for all channels."""
        return dataclasses.replace(problem, **{role: kept}) if getattr(problem, role) else problem

    def gate_seconds(self, mod: tvm.IRModule) -> Mapping[str, float]:
        """Of the launches of each gate."""
        seconds: Counter[str] = Counter()
        for launch in lowered_on(mod, self.gpu)[1].launches:
            layer, _, part = launch.layer.rpartition(".")
            if part in ("gate", "sums"):
                seconds[layer] += launch.predicted_s
        return seconds


KERNELS = {"llvm": _CpuKernels, "cuda": _GpuKernels}
"""By the kind of target."""


class _Network:
    """The problems of a network's kernels under a plan, and which gate's list each of them takes.

    gates: name -> (channels, list). problems: one for each convolution; `align` changes them. users: gate -> (number
    of a problem, which of LISTS). readers: number of a problem whose kernel leaves sums behind -> the gates that read
    them.
    """

    def __init__(self, mod: tvm.IRModule, plan: Plan, kernels: _CpuKernels | _GpuKernels):
        self.kernels = kernels
        planned = kernels.prepared(lowered(mod, plan, placeholder_calibration(mod, plan)))
        flow, self.gate_s = Dataflow.of(planned), kernels.gate_seconds(planned)
        found = kernels.problems(flow)
        self.problems = list(found.values())
        self.gates = dict(_gates(flow))
        self.users: dict[str, list[tuple[int, str]]] = {name: [] for name in self.gates}
        for number, var in enumerate(found):
            for name, role in _lists_of(flow, var):
                self.users[name].append((number, role))
        self.readers = {
            number: _gates_that_read(flow, var)
            for number, var in enumerate(found)
            if isinstance(found[var], Problem) and found[var].sums
        }

    def leave_out(self, names: Collection[str]) -> dict[str, AlignedLayer]:
        """Leave out the gates among `names` without which the network takes no longer, and say what that changes."""
        names, gone = [name for name in names if name in self.gate_s], frozenset()
        for name in names:
            gone = min(gone | {name}, gone, key=self._total)
        gone = min(frozenset(names), gone, key=self._total)
        before, self.problems = self.problems, self._without(gone)
        return {name: self._left_out(name, before) for name in self.gates if name in gone}

    def _left_out(self, name: str, before: list) -> AlignedLayer:
        numbers, (channels, kept) = {number for number, _ in self.users[name]}, self.gates[name]
        own, dense = (sum(self.kernels.seconds(some[number]) for number in numbers) for some in (before, self.problems))
        return AlignedLayer(name, channels, kept.count * kept.granularity, channels, own + self.gate_s[name], dense)

    def _without(self, gone: Collection[str]) -> list:
        """The problems without some gates."""
        problems = list(self.problems)
        for number, role in (user for name in gone for user in self.users[name]):
            problems[number] = self.kernels.with_list(problems[number], role, None)
        for number, readers in self.readers.items():
            if readers <= gone:
                problems[number] = dataclasses.replace(problems[number], sums=False)
        return problems

    def _total(self, gone: Collection[str]) -> float:
        """Seconds of all kernels without some gates."""
        gates = sum(seconds for name, seconds in self.gate_s.items() if name not in gone)
        return gates + sum(map(self.kernels.seconds, self._without(gone)))

    def align(self, name: str, channels: int, kept: ActiveList) -> AlignedLayer:
        """Lengthen a gate's list as long as that is free."""
        most, best = channels // kept.granularity, kept.count
        before = after = self._seconds(name, kept)
        for count in range(kept.count + 1, most):
            seconds = self._seconds(name, ActiveList(count, kept.granularity))
            if seconds > (1 + FREE) * before:
                break
            best, after = count, seconds
        longest = ActiveList(best, kept.granularity)
        for number, role in self.users[name]:
            self.problems[number] = self.kernels.with_list(self.problems[number], role, longest)
        widths, gate_s = (kept.count * kept.granularity, best * kept.granularity), self.gate_s.get(name, 0.0)
        return AlignedLayer(name, channels, *widths, before + gate_s, after + gate_s)

    def _seconds(self, name: str, kept: ActiveList) -> float:
        """Of all layers that take the gate's list, were it this one."""
        changed = {number: self.problems[number] for number, _ in self.users[name]}
        for number, role in self.users[name]:
            changed[number] = self.kernels.with_list(changed[number], role, kept)
        return sum(map(self.kernels.seconds, changed.values()))


def _gates(flow: Dataflow) -> Iterable[tuple[str, tuple[int, ActiveList]]]:
    """Every gate with its channels and its list, in program order."""
    for var in flow.values:
        operator = flow.operator_of(var)
        if operator and operator[0] == ir_names.CHANNEL_GATE:
            spec = operator[1]
            channels = int(shape_of(operator[2].args[spec.roles.index("rho")])[0])
            yield spec.name, (channels, ActiveList(spec.kept, spec.granularity))


def _gates_that_read(flow: Dataflow, var: relax.Var) -> frozenset[str]:
    """The gates whose input is `var`."""
    operators = filter(None, map(flow.operator_of, flow.users[var]))
    return frozenset(spec.name for operator, spec, _ in operators if operator == ir_names.CHANNEL_GATE)


def _lists_of(flow: Dataflow, var: relax.Var) -> Iterable[tuple[str, str]]:
    """(gate, which of LISTS) for the lists that the layer bound to `var` takes from gates as they are."""
    _, spec, call = flow.layer_of(var)
    arguments: Mapping[str, relax.Expr] = dict(zip(spec.roles, call.args))
    for role in LISTS:
        value = flow.values.get(arguments.get(role))
        gate = isinstance(value, relax.TupleGetItem) and flow.operator_of(value.tuple_value)
        if gate and gate[0] == ir_names.CHANNEL_GATE:
            yield gate[1].name, role
