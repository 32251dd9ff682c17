"""Kernels and the layouts between them, chosen for a whole network at once.

Nodes are convolutions with the kernels that can compute them; an edge costs the change of layout where one kernel
stores its output otherwise than the next one reads it. Pooling, relu, adds and concatenations keep their input's
layout, so edges run through them. After: NeoCPU (Liu et al., USENIX ATC 2019, section 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import relax

from espalier.core import ir_names
from espalier.core.layers import LayerSpec
from espalier.ir.dataflow import Dataflow, argument, constant, shape_of
from espalier.targets.cpu import Isa

from .kernels.int8 import as_kernels_take_it
from .kernels.problem import ConvProblem
from .kernels.requantize import rounding_of
from .pbqp import minimise
from .select import Family, candidates

CHANGE_CYCLES = 1.7
"""Cycles for each value of a tensor whose layout is changed: measured."""

KEEPING = (
    "relax.nn.max_pool2d",
    "relax.nn.avg_pool2d",
    "relax.nn.relu",
    "relax.add",
    "relax.concat",
    "relax.strided_slice",
    "relax.nn.pad",
)
"""Stock operators with kernels that read any layout and write the same; the others of four dimensions read NCHW."""

READING = ("relax.mean", "relax.nn.adaptive_avg_pool2d")
"""Stock operators with kernels that read any layout."""


@dataclass(frozen=True)
class KernelChoice:
    """A kernel family and the channel block in which it reads its input."""

    family: Family
    x_block: int


def problem_of(flow: Dataflow, var: relax.Var, isa: Isa) -> ConvProblem:
    """The shapes of the convolution bound to `var`, with the arguments that its kernel takes."""
    _, spec, call = flow.layer_of(var)
    rounding = ""
    if spec.format == "int8":
        rounding = rounding_of(spec, constants_of(spec, call), isa)
        spec = as_kernels_take_it(spec, isa)
    return ConvProblem(spec, shape_of(call.args[0]), shape_of(call.args[1]), shape_of(var), rounding)


def constants_of(spec: LayerSpec, call: relax.Call) -> dict[str, np.ndarray]:
    """The arrays among a layer's arguments, by role."""
    found = {role: constant(expr) for role, expr in zip(spec.roles, call.args)}
    return {role: array for role, array in found.items() if array is not None}


def choose_kernels(
    flow: Dataflow, isa: Isa, families: Callable[[ConvProblem], list[Family]] | None = None
) -> dict[relax.Var, KernelChoice]:
    """The kernel of each convolution: the fewest cycles, changes of layout included.

    families: what can compute a problem, with cycles; by default `candidates`, with predicted ones.
    """
    return _network(flow, isa, families).choose()[0]


def choose_with_changes(
    flow: Dataflow, isa: Isa, families: Callable[[ConvProblem], list[Family]] | None = None
) -> tuple[dict[relax.Var, KernelChoice], int]:
    """As `choose_kernels`; and how many values of tensors change their layout on the way."""
    chosen, cycles = _network(flow, isa, families).choose()
    return chosen, round((cycles - sum(choice.family.cycles for choice in chosen.values())) / CHANGE_CYCLES)


def _network(flow: Dataflow, isa: Isa, families: Callable[[ConvProblem], list[Family]] | None) -> _Network:
    return _Network(flow, isa, families or (lambda problem: candidates(problem, isa)))


def convolutions_of(flow: Dataflow, isa: Isa) -> dict[relax.Var, ConvProblem]:
    """Every convolution of the module, by the variable that it is bound to."""
    layers = {var: flow.layer_of(var) for var in flow.values}
    return {var: problem_of(flow, var, isa) for var, layer in layers.items() if layer and layer[0] == ir_names.CONV2D}


class _Network:
    def __init__(self, flow: Dataflow, isa: Isa, families: Callable[[ConvProblem], list[Family]]):
        self.flow, self.choices = flow, {}
        self.writers: dict[relax.Var, relax.Var] = {}
        self.costs: dict[relax.Var, np.ndarray] = {}
        self.edges: list[tuple] = []
        for var, problem in convolutions_of(flow, isa).items():
            found = families(problem)
            self.choices[var] = [KernelChoice(family, block) for family in found for block in family.x_blocks]
            self.costs[var] = np.array([choice.family.cycles for choice in self.choices[var]])

    def choose(self) -> tuple[dict[relax.Var, KernelChoice], float]:
        """The choices and their cycles, those of changes of layout included."""
        for var in self.flow.values:
            if var in self.choices:
                self._read_by_convolution(var)
            else:
                self._read_by_other(var)
        for var in relax.analysis.free_vars(self.flow.result):
            self._read_as(var, lambda _choice: 1, None)
        solution = minimise(self.costs, self.edges)
        cycles = sum(self.costs[var][number] for var, number in solution.items())
        cycles += sum(costs[solution[one], solution[other]] for one, other, costs in self.edges)
        return {var: self.choices[var][number] for var, number in solution.items()}, float(cycles)

    def _read_by_convolution(self, var: relax.Var) -> None:
        """The input in the block that the kernel reads, the residual in the one that it writes."""
        self.writers[var] = var
        _, spec, call = self.flow.layer_of(var)
        self._read_as(call.args[0], lambda choice: choice.x_block, var)
        residual = argument(spec, call, "residual")
        if residual is not None:
            self._read_as(residual, lambda choice: choice.family.out_block, var)

    def _read_by_other(self, var: relax.Var) -> None:
        used = [one for one in relax.analysis.free_vars(self.flow.values[var]) if one in self.writers]
        operator = self.flow.operator_of(var)
        keeps = operator[0] == ir_names.ADD if operator else self.flow.call_of(var, *KEEPING) is not None
        if (operator and not keeps) or self.flow.call_of(var, *READING) is not None:
            return  # channel gates and what quantizes read any layout, dense layers no image
        if used and keeps:
            self.writers[var] = self.writers[used[0]]
            for other in used[1:]:
                self._read_as(other, lambda choice: choice.family.out_block, self.writers[var])
            return
        for one in used:
            self._read_as(one, lambda _choice: 1, None)

    def _read_as(self, tensor: relax.Var, block_of, reader: relax.Var | None) -> None:
        """Add what it costs to bring a tensor into the block that a reader wants; no reader: always the same one."""
        writer = self.writers.get(tensor)
        operator = self.flow.operator_of(tensor)
        is_free = operator and operator[0] == ir_names.QUANTIZE  # it writes what its reader wants
        if (writer is None and (reader is None or is_free)) or len(shape_of(tensor)) != 4:
            return
        cycles = CHANGE_CYCLES * math.prod(shape_of(tensor))
        written = [one.family.out_block for one in self.choices[writer]] if writer is not None else [1]
        wanted = [block_of(one) for one in self.choices[reader]] if reader is not None else [block_of(None)]
        costs = cycles * np.not_equal.outer(written, wanted)
        if writer is not None and reader is not None:
            self.edges.append((writer, reader, costs))
        elif writer is not None:
            self.costs[writer] += costs[:, 0]
        else:
            self.costs[reader] += costs[0]
