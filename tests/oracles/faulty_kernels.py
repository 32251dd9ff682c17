"""Kernels some of which misbehave, by the columns of their tile: what a tuner must survive."""

from __future__ import annotations

from collections.abc import Sequence

from tvm.script.ir_builder import tirx as T

from espalier.codegen.cpu import trial as sound
from espalier.codegen.cpu.kernels.emit import build_kernel
from espalier.codegen.cpu.trial import (  # noqa: F401  the interface of a module of kernels
    DEVICE,
    REFERENCE,
    arrays_of,
    cores_of,
    expected_of,
    library_of_trials,
    names_of,
    reference_arguments,
)
from espalier.core.choices import Choice, Task

CRASHING, HANGING, WRONG, UNBUILDABLE = 1, 2, 3, 4


class Trial(sound.Trial):
    """A trial whose kernel may call what ends or blocks the process, or is given other data."""

    @property
    def columns(self) -> int:
        """What decides how it misbehaves."""
        return dict(self.choice.sizes).get("columns", 0)

    def kernel(self):
        if self.columns == UNBUILDABLE:
            raise ValueError("no such kernel")
        called = {CRASHING: "abort", HANGING: "pause"}.get(self.columns)
        if called is None:
            return super().kernel()
        arrays = super().arguments(sound.arrays_of(self.task))
        arguments = [(f"a{number}", one.shape, str(one.dtype)) for number, one in enumerate(arrays)]
        return build_kernel("faulty", arguments, lambda *_: T.evaluate(T.call_extern("int32", called)))

    def arguments(self, arrays):
        if self.columns == WRONG:
            arrays = {**arrays, "x": 1.5 * arrays["x"]}
        return super().arguments(arrays)


def library_of(task: Task, choices: Sequence[Choice]):
    """As of sound kernels."""
    return sound.library_of(task, choices, Trial)
