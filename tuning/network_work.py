"""What a compiled network would do, without compiling it: its kernels with their tiles, and the amounts of all else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import tvm
from tvm import relax

from espalier.build import lowered
from espalier.codegen.cpu.choose_kernels import choose_with_changes, convolutions_of
from espalier.codegen.cpu.select import Family
from espalier.codegen.cpu.spaces import choice_of, task_of
from espalier.codegen.cpu.surroundings import surroundings_of
from espalier.codegen.cpu.timed_families import KnownTimes, TimedFamilies
from espalier.core import ir_names
from espalier.core.calibration import Calibration
from espalier.core.choices import Choice, KernelTimes, Option, Task
from espalier.core.errors import InvalidInputError
from espalier.core.plan import Plan
from espalier.ir.dataflow import Dataflow, argument, shape_of
from espalier.targets.cpu import isa_of
from espalier.targets.resolve import resolve_target

from .placeholder import placeholder_calibration

AMOUNTS = {
    "calls": "kernels that are called",
    "changed_values": "values of tensors whose layout is changed between kernels",
    "padded_values": "values of tensors that are read with a margin",
    "gates": "channel gates",
    "gate_values": "values that gates read",
    "gate_macs": "multiply-accumulates of their predictors",
    "dense_weights": "weights of dense layers",
    "other_values": "values that pooling, adds and other operators without weights read and write",
}
"""Name -> meaning."""


@dataclass(frozen=True)
class Kernel:
    """A convolution's kernel. layer: its name in the network. task: with the kernel's surroundings there."""

    layer: str
    task: Task
    option: Option


@dataclass(frozen=True)
class NetworkWork:
    """What a program does. kernels: of its convolutions. amounts: of everything else, by the names of AMOUNTS."""

    kernels: tuple[Kernel, ...]
    amounts: Mapping[str, float]

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        kernels = [(one.layer, one.task.text, str(one.option.choice), one.option.cycles) for one in self.kernels]
        return {"kernels": kernels, "amounts": dict(self.amounts)}

    @staticmethod
    def of_dict(data: Mapping) -> NetworkWork:
        """The work behind `to_dict`; InvalidInputError if it is none."""
        try:
            kernels = tuple(
                Kernel(layer, Task.parse(task), Option(Choice.parse(choice), float(cycles)))
                for layer, task, choice, cycles in data["kernels"]
            )
            return NetworkWork(kernels, {name: float(data["amounts"][name]) for name in AMOUNTS})
        except (KeyError, TypeError, ValueError):
            raise InvalidInputError(f"network work: got {str(data)[:80]}, accepted is what `to_dict` gave") from None


def network_work(
    mod: tvm.IRModule,
    target="llvm",
    plan: Plan | None = None,
    calibration: Calibration | None = None,
    times: KernelTimes | None = None,
) -> NetworkWork:
    """The work of a network under a plan: fusion, kernels and layouts as `build` would choose them.

    calibration: None stands for any, for the time does not depend on its values. times: as `build` takes it.
    Errors as from `build`.
    """
    resolved, plan = resolve_target(target), plan or Plan()
    isa = isa_of(resolved)
    flow = Dataflow.of(lowered(mod, plan, calibration or placeholder_calibration(mod, plan)))
    problems = convolutions_of(flow, isa)
    families = TimedFamilies(KnownTimes(times, resolved), problems.values()).families if times else None
    chosen, changed_values = choose_with_changes(flow, isa, families)
    around = surroundings_of(flow, isa, problems, chosen)
    kernels = tuple(
        Kernel(one.spec.name, task_of(one, resolved, around[var]), _option(chosen[var].family))
        for var, one in problems.items()
    )
    amounts = dict.fromkeys(AMOUNTS, 0.0)
    amounts["changed_values"] = float(changed_values)
    for var in flow.values:
        _count(flow, var, amounts)
    return NetworkWork(kernels, amounts)


def _option(family: Family) -> Option:
    return Option(choice_of(family), family.cycles)


def _count(flow: Dataflow, var: relax.Var, amounts: dict[str, float]) -> None:
    """Add what the operator bound to `var` does."""
    name, spec, call = flow.operator_of(var) or (None, None, flow.call_of(var))
    if call is None:
        return
    amounts["calls"] += 1
    read = sum(_values(one) for one in call.args[:1])
    if name == ir_names.CONV2D:
        amounts["padded_values"] += read if max(spec.padding) else 0
    elif name == ir_names.CHANNEL_GATE:
        amounts["gates"] += 1
        amounts["gate_values"] += read
        amounts["gate_macs"] += _values(argument(spec, call, "phi"))
    elif name == ir_names.DENSE:
        amounts["dense_weights"] += _values(argument(spec, call, "weight"))
    else:
        amounts["other_values"] += read + _values(var)


def _values(expr: relax.Expr) -> float:
    """Of a tensor; 0 of what is no tensor of known shape."""
    known = isinstance(expr.ty, relax.TensorType) and expr.ty.shape is not None
    return float(math.prod(shape_of(expr))) if known else 0.0
