"""Densities at the ends of the stairs: as many channels as take no more time.

A kernel computes whole vectors and whole register tiles, on a GPU whole waves of blocks, so the time of a layer over
the number of channels that its gate keeps is a staircase. A density in the middle of a stair pays for channels that it
does not get. Where a plan leaves a layer's density open, that is gives only the default's, it is raised to the end of
the stair on which it lies: the time is of the layer itself and of all layers that read its list, as a cost model
predicts them.
Radu et al., Performance Aware Convolutional Neural Network Channel Pruning for Embedded GPUs, IISWC 2019 (section IV).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax
from tvm.target import Target

from espalier.build import lowered, prepare
from espalier.codegen.cpu.choose_kernels import convolutions_of
from espalier.codegen.cpu.kernels.problem import ConvProblem
from espalier.codegen.cpu.select import candidates
from espalier.codegen.cpu.spaces import choice_of, task_of
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

    seconds, aligned_s: predicted, of the layer and of all that read its list.
    """

    name: str
    channels: int
    kept: int
    aligned: int
    seconds: float
    aligned_s: float


def align_density(
    mod: tvm.IRModule, target, plan: Plan, model: CostModel | None = None
) -> tuple[Plan, tuple[AlignedLayer, ...]]:
    """The plan with the density of every gate that it leaves open at the end of its stair, and what that changes.

    target: llvm or cuda; no device is needed. model: predicts kernels of llvm; None for the analytic rule. Gates follow
    in program order, each given those before it.
    Raises InvalidPlanError if there is no such gate, UnsupportedTargetError for an FPGA, and what `build` raises.
    """
    resolved = resolve_target(target)
    kernels = KERNELS.get(str(resolved.kind.name))
    if kernels is None:
        raise UnsupportedTargetError(f"aligned density: got the target {target}, accepted are llvm and cuda")
    sites = GateSites.of(prepare(mod), plan).sites  # without gates that came with the model, whose lists are fixed
    open_ones = [name for name in sites if not plan.sets(name, "density")]
    if not open_ones:
        raise InvalidPlanError("aligned density: the plan leaves no gate open; accepted is a default density below 1")
    network = _Network(mod, plan, kernels(resolved, model))
    found = tuple(network.align(name, *gate) for name, gate in network.gates.items() if name in open_ones)
    layers = {name: dict(settings) for name, settings in plan.layers.items()}
    for one in found:
        layers.setdefault(one.name, {})["density"] = one.aligned / one.channels
    return dataclasses.replace(plan, layers=layers), found


class _CpuKernels:
    """The convolutions of a network, and how long the fastest kernel of one takes."""

    def __init__(self, target: Target, model: CostModel | None):
        self.target, self.isa, self.model = target, isa_of(target), model or Analytic()

    def problems(self, flow: Dataflow) -> Mapping[relax.Var, ConvProblem]:
        return convolutions_of(flow, self.isa)

    def seconds(self, problem: ConvProblem) -> float:
        options = [Option(choice_of(one), one.cycles) for one in candidates(problem, self.isa)]
        return float(np.exp(self.model.predict(task_of(problem, self.target), options).log_seconds.min()))

    def with_list(self, problem: ConvProblem, role: str, kept: ActiveList) -> ConvProblem:
        return dataclasses.replace(problem, spec=dataclasses.replace(problem.spec, **{role: kept}))


class _GpuKernels:
    """The matrix products of a network, dense layers included, under the schedules that the rule chooses."""

    def __init__(self, target: Target, model: CostModel | None):
        if model is not None:
            raise UnsupportedTargetError("aligned density: a cost model is for llvm, for cuda there is the rule only")
        self.gpu = gpu_of(target)

    def problems(self, flow: Dataflow) -> Mapping[relax.Var, Problem]:
        return products_of(flow, self.gpu)

    def seconds(self, problem: Problem) -> float:
        return predicted_s(problem, choose_schedule(problem, self.gpu), self.gpu)

    def with_list(self, problem: Problem, role: str, kept: ActiveList) -> Problem:
        """The problem as it is where its kernel does not follow the list."""
        return dataclasses.replace(problem, **{role: kept}) if getattr(problem, role) else problem


KERNELS = {"llvm": _CpuKernels, "cuda": _GpuKernels}
"""By the kind of target."""


class _Network:
    """The problems of a network's kernels under a plan, and which gate's list each of them takes.

    gates: name -> (channels, list). problems: one for each convolution; `align` changes them. users: gate -> (number
    of a problem, which of LISTS).
    """

    def __init__(self, mod: tvm.IRModule, plan: Plan, kernels: _CpuKernels | _GpuKernels):
        self.kernels = kernels
        flow = Dataflow.of(lowered(mod, plan, placeholder_calibration(mod, plan)))
        found = kernels.problems(flow)
        self.problems = list(found.values())
        self.gates = dict(_gates(flow))
        self.users: dict[str, list[tuple[int, str]]] = {name: [] for name in self.gates}
        for number, var in enumerate(found):
            for name, role in _lists_of(flow, var):
                self.users[name].append((number, role))

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
        widths = (kept.count * kept.granularity, best * kept.granularity)
        return AlignedLayer(name, channels, *widths, before, after)

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


def _lists_of(flow: Dataflow, var: relax.Var) -> Iterable[tuple[str, str]]:
    """(gate, which of LISTS) for the lists that the layer bound to `var` takes from gates as they are."""
    _, spec, call = flow.layer_of(var)
    arguments: Mapping[str, relax.Expr] = dict(zip(spec.roles, call.args))
    for role in LISTS:
        value = flow.values.get(arguments.get(role))
        gate = isinstance(value, relax.TupleGetItem) and flow.operator_of(value.tuple_value)
        if gate and gate[0] == ir_names.CHANNEL_GATE:
            yield gate[1].name, role
