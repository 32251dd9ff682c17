"""Measurements on this machine."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Mapping

import tvm

from espalier.core.artifact import Artifact
from espalier.core.errors import InvalidInputError
from espalier.core.measurement import LayerMeasurement, Measurement, Timing

from .threads import threads

WARM_UP = 3


def profile(artifact: Artifact, *args, repeats: int = 20, **named) -> Measurement:
    """Time whole runs and each layer on the given inputs.

    repeats: timed runs, at least one. Layer times are medians over the same number of profiled runs;
    profiling adds a little to each, so they need not sum to `latency_s`.
    Raises InvalidInputError as `Artifact.__call__` does.
    """
    if not isinstance(repeats, int) or repeats < 1:
        raise InvalidInputError(f"profile: repeats is {repeats!r}, accepted is an integer from 1")
    arrays = artifact.bind(*args, **named)
    if artifact.target["kind"] == "cuda":
        return _profile_gpu(artifact, arrays, repeats)
    inputs = [*map(tvm.runtime.tensor, arrays), *artifact.program.parameter_tensors]
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


def _profile_gpu(artifact: Artifact, arrays: list, repeats: int) -> Measurement:
    """Whole runs on this machine's GPU, inputs and outputs on the device; layers are inside a CUDA graph, untimed."""
    artifact.program.run(arrays)  # one that cannot run says why
    machine, device = artifact.program.machine, tvm.cuda(0)
    inputs = [tvm.runtime.tensor(array, device) for array in arrays]

    def run(*given) -> None:
        machine["main"](*given)
        device.sync()

    timing = time_runs(run, inputs, repeats)
    return Measurement(
        latency_s=timing.median_s,
        macs=sum(layer.macs for layer in artifact.layers),
        macs_dense=sum(layer.macs_dense for layer in artifact.layers),
        timing=timing,
        environment={**environment(), "gpu": str(device.device_name)},
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
        "threads": threads(),
        "tvm": tvm.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _layer_seconds(artifact: Artifact, inputs: list, repeats: int) -> tuple[dict[str, float], float]:
    """Median seconds by layer, and of everything that belongs to none."""
    machine = artifact.program.new_machine()
    clock = KernelClock(artifact.program.kernel_layers)
    machine.set_instrument(clock)
    runs = []
    for _ in range(repeats):
        clock.reset()
        machine["main"](*inputs)
        runs.append(clock.seconds)
    names = {name for run in runs for name in run}
    medians = {name: statistics.median(run.get(name, 0.0) for run in runs) for name in names}
    return medians, medians.pop("", 0.0)


class KernelClock:
    """An instrument of TVM's virtual machine: adds the seconds between the start and the end of each kernel.

    kernel_layers: kernel name -> key in `seconds` and `calls` under which it is added; other kernels are left out.
    """

    def __init__(self, kernel_layers: Mapping[str, str]):
        self.kernel_layers = kernel_layers
        self.reset()

    def reset(self) -> None:
        """Begin anew; dictionaries that were taken before stay as they are."""
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.started = 0.0

    def __call__(self, _function, symbol: str, before_run: bool, _result, *_arguments) -> int:
        now = time.perf_counter()
        if before_run:
            self.started = time.perf_counter()
        else:
            layer = self.kernel_layers.get(symbol)
            if layer is not None:  # the machine's own calls take less time than looking at the clock
                self.seconds[layer] = self.seconds.get(layer, 0.0) + now - self.started
                self.calls[layer] = self.calls.get(layer, 0) + 1
        return _GO_ON


_GO_ON = 0
