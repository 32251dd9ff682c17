"""Measurements on this machine."""

from __future__ import annotations

import os
import platform
import statistics
import time

import tvm

from espalier.core.artifact import Artifact
from espalier.core.errors import InvalidInputError
from espalier.core.measurement import LayerMeasurement, Measurement, Timing

WARM_UP = 3


def profile(artifact: Artifact, *args, repeats: int = 20, **named) -> Measurement:
    """Time whole runs and each layer on the given inputs.

    repeats: timed runs, at least one. Layer times are medians over the same number of profiled runs;
    profiling adds a little to each, so they need not sum to `latency_s`.
    Raises InvalidInputError as `Artifact.__call__` does.
    """
    if not isinstance(repeats, int) or repeats < 1:
        raise InvalidInputError(f"profile: repeats is {repeats!r}, accepted is an integer from 1")
    inputs = [tvm.runtime.tensor(array) for array in artifact.bind(*args, **named)]
    timing = time_runs(artifact.program.machine["main"], inputs, repeats)
    seconds, glue = _layer_seconds(artifact, inputs, repeats)
    return Measurement(
        latency_s=timing.median_s,
        macs=sum(layer.macs for layer in artifact.layers),
        macs_dense=sum(layer.macs_dense for layer in artifact.layers),
        timing=timing,
        layers=tuple(LayerMeasurement(layer, seconds.get(layer.name, 0.0)) for layer in artifact.layers),
        glue_s=glue,
        environment=environment(),
    )


def time_runs(function, inputs: list, repeats: int) -> Timing:
    """Wall-clock seconds of `function(*inputs)`, after a few runs that are not counted."""
    samples = []
    for number in range(WARM_UP + repeats):
        start = time.perf_counter()
        function(*inputs)
        elapsed = time.perf_counter() - start
        if number >= WARM_UP:
            samples.append(elapsed)
    return Timing.of(samples)


def environment() -> dict:
    """What a measurement depends on."""
    return {
        "cpu": str(tvm.target.codegen.llvm_get_system_cpu()),
        "threads": int(os.environ.get("TVM_NUM_THREADS", os.cpu_count() or 1)),
        "tvm": tvm.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _layer_seconds(artifact: Artifact, inputs: list, repeats: int) -> tuple[dict[str, float], float]:
    """Median seconds by layer, and of everything that belongs to none."""
    machine = artifact.program.profiling_machine
    runs = []
    for _ in range(repeats):
        runs.append(_seconds_by_layer(machine.profile("main", *inputs), artifact.program.kernel_layers))
    names = {name for run in runs for name in run}
    medians = {name: statistics.median(run.get(name, 0.0) for run in runs) for name in names}
    return medians, medians.pop("", 0.0)


def _seconds_by_layer(report, kernel_layers) -> dict[str, float]:
    totals: dict[str, float] = {}
    for call in report.calls:
        layer = kernel_layers.get(str(call["Name"]), "")
        totals[layer] = totals.get(layer, 0.0) + call["Duration (us)"].microseconds / 1e6
    return totals
