"""`espalier profile`: time and work of each layer."""

from __future__ import annotations

from pathlib import Path

from espalier.core.artifact import Artifact
from espalier.core.errors import InvalidInputError
from espalier.core.measurement import AcceleratorMeasurement, Measurement
from espalier.report import tables

from . import arrays, gpu_profile
from .output import Outcome, limited, rounds

SIMULATION = "simulation"
"""The folder in an artifact's one where its project is built; its logs stay there."""


def run(
    folder: Path,
    inputs: Path | None,
    repeats: int,
    threads: int,
    simulate: str | None = None,
    limit_s: float = 3600,
) -> Outcome:
    """Profile on the first batch of the inputs, or on random numbers.

    simulate: of an accelerator, "hls" or "rtl"; None asks its models. limit_s: of each tool of a simulation.
    """
    from espalier import api
    from espalier.measure.threads import set_threads

    artifact = api.load(folder)
    if artifact.target["kind"] == "cuda":
        return gpu_profile.run(artifact, inputs, repeats)
    set_threads(threads)
    specs = artifact.inputs
    batch = arrays.batches(arrays.read_inputs(inputs, specs), specs)[0] if inputs else arrays.random_batch(specs)
    if hasattr(artifact.program, "graph"):
        given = [batch[spec.name] for spec in specs]
        if simulate is None:
            return _predicted(artifact, given)
        return _simulated(artifact, folder, given, inputs, simulate, limit_s)
    if simulate is not None:
        raise InvalidInputError(
            f"--simulate: {folder} was compiled for a CPU, accepted are artifacts for fpga_hls/<board>"
        )
    with rounds(1, "profiling") as advance:
        measurement = artifact.profile(*(batch[spec.name] for spec in specs), repeats=repeats)
        advance()
    data = measurement.to_dict() | {"threads": threads, "inputs": _name(inputs)}
    return Outcome(data, (tables.profile_table(measurement), _remark(measurement, threads, inputs)))


def _predicted(artifact: Artifact, given: list) -> Outcome:
    with rounds(1, "predicting") as advance:
        measured = artifact.profile(*given)
        advance()
    return Outcome(measured.to_dict(), (*tables.accelerator_tables(measured), _sentence(measured, "")))


def _simulated(
    artifact: Artifact, folder: Path, given: list, inputs: Path | None, simulate: str, limit_s: float
) -> Outcome:
    with rounds(1, f"simulating ({simulate})") as advance, limited():
        measured = artifact.profile(*given, simulate=simulate, folder=folder / SIMULATION, limit_s=limit_s)
        advance()
    equal = f" gives the integer body's numbers, bit for bit, on {_given(inputs)}"
    data = measured.to_dict() | {"inputs": _name(inputs)}
    return Outcome(data, (*tables.accelerator_tables(measured), _sentence(measured, equal)))


def _sentence(one: AcceleratorMeasurement, equal: str) -> str:
    how = {"none": "predicted", "hls": "cycles predicted; the C++", "rtl": "simulated; the SystemVerilog"}[
        one.simulated
    ]
    watts = one.estimated_power_w
    power = "" if watts is None else f"; {watts:.2g} W of dynamic power, an estimate from what switched"
    return (
        f"{one.board}, {how}{equal}: {one.interval_cycles or one.predicted_interval_cycles} cycles a frame, latency "
        f"{one.latency_cycles or one.predicted_latency_cycles} cycles; at {one.clock_hz / 1e6:g} MHz "
        f"{one.frames_per_s:.0f} frames a second, {tables.duration(one.latency_s)}{power}"
    )


def _remark(measurement: Measurement, threads: int, inputs: Path | None) -> str:
    timing = measurement.timing
    quartiles = f"{tables.duration(timing.quartile1_s)} to {tables.duration(timing.quartile3_s)}"
    return (
        f"Medians of {timing.repeats} runs (quartiles of the whole {quartiles}), {_threads(threads)}, on "
        f"{_given(inputs)}.\n"
        "Layers are timed one by one in runs of their own, so their times need not sum to the whole run."
    )


def _given(inputs: Path | None) -> str:
    return "random inputs" if inputs is None else f"the first batch of {inputs.name}"


def _name(inputs: Path | None) -> str:
    return "random" if inputs is None else str(inputs)


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
