"""The choices of a task on a CPU: kernel families and their tiles, as values that a tuner can store and compare.

What cannot run is never listed: sums that do not fit the registers, families that do not suit the shapes. What the
analytic rule expects to take more than `HOPELESS` times as long as the best is left out too, except each family's own
tile: the layouts around a layer may want the family, and its time shows how far the rule is off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import tvm
from tvm.target import Target

from espalier.core import ir_names
from espalier.core.choices import Choice, Option, Task
from espalier.core.errors import InvalidInputError
from espalier.core.integer import LayerArithmetic, ResidualArithmetic
from espalier.core.layers import Activation, ActiveList, Conv2dSpec
from espalier.ir.dataflow import Dataflow
from espalier.targets.cpu import Isa, isa_of
from espalier.targets.resolve import as_dict, resolve_target

from . import select, select_int8
from .choose_kernels import convolutions_of
from .kernels.conv2d_amx import Band, legal_bands
from .kernels.conv2d_blocked import Tile, legal_tiles
from .kernels.conv2d_planar import PlanarTile, legal_planar_tiles
from .kernels.depthwise_blocked import DepthwiseTile, legal_depthwise_tiles
from .kernels.problem import ConvProblem
from .kernels.winograd_tile import WinogradTile, legal_winograd_tiles
from .select import Family, candidates
from .surroundings import Surroundings

HOPELESS = 1.5

ANY_NAME = "layer"


ANY_ZERO, ANY_SHIFT, ANY_PI_SHIFT = 128, 24, 7
ANY_FACTOR, ANY_FACTOR_SHIFT = 1 << 19, 20
"""Of quantized layers: no kernel's time depends on these numbers, only on whether they are 0, or equal."""


@dataclass(frozen=True)
class _Tiling:
    """The tiles of a kernel family. make: the family with one of them. legal: all that can run."""

    tile: type
    make: Callable[..., Family]
    legal: Callable[[ConvProblem, Isa], Iterable]


TILINGS = {
    "blocked": _Tiling(Tile, select.blocked_family, legal_tiles),
    "bfloat16": _Tiling(Tile, select.bfloat16_family, legal_tiles),
    "winograd": _Tiling(WinogradTile, select.winograd_family, legal_winograd_tiles),
    "planar": _Tiling(PlanarTile, select.planar_family, legal_planar_tiles),
    "depthwise": _Tiling(DepthwiseTile, select.depthwise_family, legal_depthwise_tiles),
    "int8": _Tiling(Tile, select_int8.quads_family, legal_tiles),
    "amx_int8": _Tiling(Band, select_int8.amx_family, legal_bands),
    "planar_int8": _Tiling(PlanarTile, select_int8.planar_family, legal_planar_tiles),
    "depthwise_int8": _Tiling(lambda: None, select_int8.depthwise_family, lambda problem, isa: ()),
}


def task_of(problem: ConvProblem, target: Target, surroundings: Surroundings | None = None) -> Task:
    """The task of a convolution; parameters with their default values are left out: keys outlive new ones.

    surroundings: of the kernel of one network; None for a convolution by itself, as it is tuned.
    """
    plain = dataclasses.asdict(_typical(problem.spec))
    default = dataclasses.asdict(Conv2dSpec(ANY_NAME))
    facts = {name: value for name, value in plain.items() if value != default[name]}
    facts["shapes"] = {"x": problem.x_shape, "weight": problem.weight_shape, "out": problem.out_shape}
    if problem.rounding:
        facts["rounding"] = problem.rounding
    if surroundings is not None:
        facts["surroundings"] = dataclasses.asdict(surroundings)
    return Task(ir_names.CONV2D, facts, as_dict(target))


def _typical(spec: Conv2dSpec) -> Conv2dSpec:
    """One for all layers whose kernels take the same time: names and the numbers of integer arithmetic are left out."""
    spec = dataclasses.replace(spec, name=ANY_NAME)
    if spec.integer is None:
        return spec
    residual = spec.integer.residual
    if residual:
        limits = (None, None) if residual.low is None else (-128, 127)
        scaled = ResidualArithmetic(0, ANY_FACTOR, ANY_FACTOR, ANY_FACTOR_SHIFT, *limits)
        residual = ResidualArithmetic(0) if residual.is_plain else scaled
    x_zero, pi_shift = (ANY_ZERO if spec.integer.x_zero else 0), (ANY_PI_SHIFT if spec.integer.pi_shift else 0)
    arithmetic = LayerArithmetic(x_zero, ANY_SHIFT, residual=residual, pi_shift=pi_shift)
    return dataclasses.replace(spec, integer=arithmetic, weight_format="float32")


def is_tunable(problem: ConvProblem) -> bool:
    """Whether its kernels can be tried alone: all but those of bytes that compute what a gate then makes rest."""
    spec = problem.spec
    return spec.format != "int8" or spec.gate == "none" or spec.winners is not None


def tasks_of(mod: tvm.IRModule, target: Target) -> dict[Task, list[str]]:
    """The tasks of a module's convolutions in program order, each with the names of its layers."""
    found: dict[Task, list[str]] = {}
    for problem in convolutions_of(Dataflow.of(mod), isa_of(target)).values():
        if is_tunable(problem):
            found.setdefault(task_of(problem, target), []).append(problem.spec.name)
    return found


def problem_of_task(task: Task) -> tuple[ConvProblem, Isa]:
    """The convolution and the instruction set behind a task; InvalidInputError if it is no convolution."""
    return convolution_of(task), isa_of(resolve_target(task.device))


def convolution_of(task: Task) -> ConvProblem:
    """The convolution behind a task of any target; InvalidInputError if it is none."""
    if task.operator != ir_names.CONV2D:
        raise InvalidInputError(f"task: got the operator {task.operator!r}, accepted is {ir_names.CONV2D!r}")
    facts = dict(task.facts)
    shapes = {role: tuple(shape) for role, shape in facts.pop("shapes").items()}
    rounding = facts.pop("rounding", "")
    facts.pop("surroundings", None)
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
    for name, kind in (("activation", Activation), ("winners", ActiveList), ("active", ActiveList)):
        if given.get(name):
            given[name] = kind(**given[name])
    given["integer"] = LayerArithmetic.from_dict(given.get("integer"))
    spec = Conv2dSpec(ANY_NAME, **given)
    return ConvProblem(spec, shapes["x"], shapes["weight"], shapes["out"], rounding)


def surroundings_of_task(task: Task) -> Surroundings | None:
    """Those that the task was made with."""
    given = task.facts.get("surroundings")
    return None if given is None else Surroundings(**given)


def choice_of(family: Family) -> Choice:
    """The family with its tile, as plain values."""
    sizes = dataclasses.asdict(family.tile) if family.tile else {}
    return Choice(family.name, tuple(sizes.items()))


def family_of(problem: ConvProblem, isa: Isa, choice: Choice) -> Family:
    """The family with the tile that a choice names; InvalidInputError if there is none such."""
    tiling = TILINGS.get(choice.family)
    try:
        return tiling.make(problem, isa, tiling.tile(**dict(choice.sizes)))
    except (AttributeError, TypeError):
        raise InvalidInputError(f"choice: got {choice}, accepted are families {', '.join(TILINGS)}") from None


def options(problem: ConvProblem, isa: Isa) -> list[Option]:
    """Every choice worth measuring: the rule's own first, then the others, the best predicted first."""
    own = sorted(candidates(problem, isa), key=lambda family: family.cycles)
    others = [other for family in own for other in _retiled(family, problem, isa)]
    limit = HOPELESS * min(family.cycles for family in (*own, *others))
    kept = [*own[1:], *(family for family in others if family.cycles <= limit)]
    return [Option(choice_of(one), one.cycles) for one in (own[0], *sorted(kept, key=lambda family: family.cycles))]


def _retiled(family: Family, problem: ConvProblem, isa: Isa) -> list[Family]:
    """The family with every other tile."""
    tiling = TILINGS[family.name]
    return [tiling.make(problem, isa, tile) for tile in tiling.legal(problem, isa) if tile != family.tile]
