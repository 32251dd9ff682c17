"""What there is to tune in a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tvm
from tvm.target import Target

from espalier.build import lowered
from espalier.codegen.cpu import spaces as cpu_spaces
from espalier.codegen.cuda import spaces as cuda_spaces
from espalier.core.calibration import Calibration
from espalier.core.choices import Option, Task
from espalier.core.plan import Plan


@dataclass(frozen=True)
class NetworkTask:
    """A task with its choices, the rule's best first, and the layers that it is the task of."""

    task: Task
    space: tuple[Option, ...]
    layers: tuple[str, ...]


def network_tasks(
    mod: tvm.IRModule, target: Target, plan: Plan | None = None, calibration: Calibration | None = None
) -> list[NetworkTask]:
    """The distinct tasks of a module under a plan, in program order; errors as from `build`."""
    ready = lowered(mod, plan or Plan(), calibration or Calibration())
    found: Mapping[Task, list[str]] = spaces_of(str(target.kind.name)).tasks_of(ready, target)
    return [NetworkTask(task, space_of(task), tuple(names)) for task, names in found.items()]


def space_of(task: Task) -> tuple[Option, ...]:
    """The choices of a task, the rule's own first."""
    spaces = spaces_of(str(task.device["kind"]))
    return tuple(spaces.options(*spaces.problem_of_task(task)))


def spaces_of(kind: str):
    """The module that knows the choices of a kind of target."""
    return cuda_spaces if kind == "cuda" else cpu_spaces
