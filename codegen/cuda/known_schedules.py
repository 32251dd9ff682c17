"""Schedules by known times, from records or a cost model, in the place of the analytic rule's."""

from __future__ import annotations

from dataclasses import dataclass, field

from tvm import relax
from tvm.target import Target

from espalier.core.choices import KernelTimes
from espalier.ir.dataflow import Dataflow
from espalier.targets.gpu import gpu_of

from ..cpu.spaces import task_of
from .kernels.conv2d import Schedule
from .spaces import convolution_at, options, schedule_of


@dataclass
class KnownSchedules:
    """What is known of a target's kernels. remarks: which schedules were taken, and where their times are from."""

    times: KernelTimes
    target: Target
    remarks: list[str] = field(default_factory=list)

    def of(self, flow: Dataflow, var: relax.Var) -> Schedule | None:
        """The fastest schedule that is known for the convolution bound to `var`; None if nothing is known of it."""
        gpu = gpu_of(self.target)
        convolution = convolution_at(flow, var, gpu)
        if convolution is None:
            return None
        task = task_of(convolution, self.target)
        legal = options(convolution, gpu)
        seconds = self.times.seconds(task, legal)
        known = [one.choice for one in legal if one.choice in seconds]
        if not known:
            return None
        best = min(known, key=seconds.__getitem__)
        source = self.times.remark(task, best)
        self.remarks.append(f"{convolution.spec.name}: {best} takes {1e6 * seconds[best]:.3g} us ({source})")
        return schedule_of(best)
