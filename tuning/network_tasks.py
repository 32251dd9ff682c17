"""What there is to tune in a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tvm
from tvm.target import Target

from espalier.build import lowered
from espalier.codegen.cpu.spaces import options, problem_of_task, tasks_of
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
    found: Mapping[Task, list[str]] = tasks_of(lowered(mod, plan or Plan(), calibration or Calibration()), target)
    return [NetworkTask(task, tuple(options(*problem_of_task(task))), tuple(names)) for task, names in found.items()]
