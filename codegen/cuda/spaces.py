"""The choices of a convolution on a GPU: tiles and splits of the depth, as values that a tuner can store and compare.

What cannot run is never listed: tiles whose registers or shared memory a block cannot have. What the analytic rule
(waves, tails, the slowest part of a step) expects to take more than `HOPELESS` times as long as the best is left out.
"""

from __future__ import annotations

import dataclasses

import tvm
from tvm.target import Target

from espalier.core import ir_names
from espalier.core.choices import Choice, Option, Task
from espalier.core.errors import InvalidInputError
from espalier.ir.dataflow import Dataflow, argument, constant, shape_of
from espalier.targets.gpu import Gpu, gpu_called, gpu_of

from ..cpu.kernels.problem import ConvProblem
from ..cpu.spaces import convolution_of, task_of
from .fold_strides import FoldStrides
from .kernels.choose_schedule import choose_schedule, predicted_s, schedules
from .kernels.conv2d import Problem, Schedule, Tile
from .kernels.epilogue import rescaling_of
from .kernels.legal_tiles import divides, legal_tiles
from .lower_layers import CONV2D, constants_of, kind_of, obstacle

HOPELESS = 1.5
FAMILY = "conv2d"


def convolution_at(flow: Dataflow, var, gpu: Gpu) -> ConvProblem | None:
    """The convolution on tensor cores that is bound to `var`; None for anything else."""
    operator, spec, call = flow.layer_of(var) or (None, None, None)
    if operator != ir_names.CONV2D or obstacle(operator, spec, call, gpu):
        return None
    if kind_of(spec, call, gpu) != CONV2D:
        return None
    weight = constant(argument(spec, call, "weight"))
    rescaling = rescaling_of(spec, constants_of(spec, call)) if spec.integer else ""
    return ConvProblem(spec, shape_of(argument(spec, call, "x")), weight.shape, shape_of(var), rescaling)


def tasks_of(mod: tvm.IRModule, target: Target) -> dict[Task, list[str]]:
    """The tasks of a module's convolutions in program order, each with the names of its layers."""
    flow, found = Dataflow.of(FoldStrides()(mod)), {}
    for problem in filter(None, (convolution_at(flow, var, gpu_of(target)) for var in flow.values)):
        found.setdefault(task_of(problem, target), []).append(problem.spec.name)
    return found


def problem_of_task(task: Task) -> tuple[ConvProblem, Gpu]:
    """The convolution and the GPU behind a task; InvalidInputError if it is no convolution."""
    return convolution_of(task), gpu_called(str(task.device["arch"]), task.device.get("model"))


def product_of(convolution: ConvProblem) -> Problem:
    """The matrix product of a convolution."""
    return Problem.of(convolution.spec, convolution.x_shape, convolution.weight_shape, convolution.out_shape)


def choice_of(schedule: Schedule) -> Choice:
    """The schedule as plain values."""
    return Choice(FAMILY, (*dataclasses.asdict(schedule.tile).items(), ("splits", schedule.splits)))


def schedule_of(choice: Choice) -> Schedule:
    """The schedule that a choice names; InvalidInputError if there is none such."""
    sizes = dict(choice.sizes)
    try:
        splits = sizes.pop("splits")
        schedule = Schedule(Tile(**sizes), splits)
        if choice.family == FAMILY and min(*sizes.values(), splits) > 0 and divides(schedule.tile):
            return schedule
    except (KeyError, TypeError):
        pass
    names = ", ".join(one.name for one in dataclasses.fields(Tile))
    raise InvalidInputError(f"choice: got {choice}, accepted is {FAMILY} with {names}, splits")


def options(convolution: ConvProblem, gpu: Gpu) -> list[Option]:
    """Every choice worth measuring, with predicted clocks: the rule's own first, then the best predicted first."""
    problem = product_of(convolution)
    own = choose_schedule(problem, gpu)
    clocks = {one: predicted_s(problem, one, gpu) * gpu.clock_hz for one in (own, *_others(problem, gpu))}
    limit = HOPELESS * min(clocks.values())
    others = sorted((one for one in clocks if one != own and clocks[one] <= limit), key=clocks.__getitem__)
    return [Option(choice_of(one), clocks[one]) for one in (own, *others)]


def _others(problem: Problem, gpu: Gpu) -> list[Schedule]:
    return schedules(problem, legal_tiles(problem.numbers, gpu))
