"""`espalier profile`: time and work of each layer."""

from __future__ import annotations

from pathlib import Path

from espalier.core.measurement import Measurement
from espalier.report import tables

from . import arrays, gpu_profile
from .output import Outcome, rounds


def run(folder: Path, inputs: Path | None, repeats: int, threads: int) -> Outcome:
    """Profile on the first batch of the inputs, or on random numbers."""
    from espalier import api
    from espalier.measure.threads import set_threads

    artifact = api.load(folder)
    if artifact.target["kind"] == "cuda":
        return gpu_profile.run(artifact, inputs, repeats)
    set_threads(threads)
    specs = artifact.inputs
    batch = arrays.batches(arrays.read_inputs(inputs, specs), specs)[0] if inputs else arrays.random_batch(specs)
    with rounds(1, "profiling") as advance:
        measurement = artifact.profile(*(batch[spec.name] for spec in specs), repeats=repeats)
        advance()
    data = measurement.to_dict() | {"threads": threads, "inputs": "random" if inputs is None else str(inputs)}
    return Outcome(data, (tables.profile_table(measurement), _remark(measurement, threads, inputs)))


def _remark(measurement: Measurement, threads: int, inputs: Path | None) -> str:
    timing = measurement.timing
    quartiles = f"{tables.duration(timing.quartile1_s)} to {tables.duration(timing.quartile3_s)}"
    given = "random inputs" if inputs is None else f"the first batch of {inputs.name}"
    return (
        f"Medians of {timing.repeats} runs (quartiles of the whole {quartiles}), {_threads(threads)}, on {given}.\n"
        "Layers are timed one by one in runs of their own, so their times need not sum to the whole run."
    )


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
