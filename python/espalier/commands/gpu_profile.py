"""`espalier profile` of a program for a GPU: what each launch should cost, and what it does cost if there is a GPU."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from espalier.core.artifact import Artifact
from espalier.core.errors import UnsupportedTargetError
from espalier.report import tables

from . import arrays
from .output import Outcome

SHAPES = ("launch", ">grid", ">blocks", ">regs", ">shared", ">blocks/SM", ">occupied", ">waves", ">tail")
TIMES = ("launch", ">MACs", ">bit ops", ">bytes", ">roofline", "bound by", ">predicted", ">measured")
"""Two tables, so that each has room on a terminal."""


def run(artifact: Artifact, inputs: Path | None, repeats: int) -> Outcome:
    """Tables of launches, all of it predicted; below them the measured whole, or why nothing was measured."""
    from espalier.codegen.cuda.prediction import predict
    from espalier.targets.gpu import gpu_called

    gpu = gpu_called(artifact.program.arch, artifact.target.get("model"))
    predictions = predict(artifact.program.launches, gpu)
    measured, remark = _measured(artifact, inputs, repeats)
    seconds = _launches_measured(artifact) if measured else [None] * len(predictions)
    shapes = tables.plain_table(SHAPES, [_shape(one) for one in predictions])
    layers = {layer.name: layer.bit_operations for layer in artifact.layers}
    bits = [layers.get(one.launch.layer, 0) if one.launch.macs else 0 for one in predictions]
    times = tables.plain_table(TIMES, [_times(*one) for one in zip(predictions, bits, seconds, strict=True)])
    title = f"Prediction for {gpu.device} ({gpu.arch}), from the compiled kernels; " + (
        "only the last column was measured, each launch alone." if measured else "nothing in these tables was measured."
    )
    total = sum(layers.values())
    work = f"Bit operations of all layers, for one sample: {tables.quantity(total)}."
    rest = _others(artifact.program)
    data = {
        "kind": "prediction",
        "device": gpu.device,
        "arch": gpu.arch,
        "launches": [
            {**one.to_dict(), "bit_operations": count, "measured_s": two}
            for one, count, two in zip(predictions, bits, seconds, strict=True)
        ],
        "bit_operations": total,
        "stock_kernels": list(artifact.program.stock_kernels),
        "measured": measured,
    }
    return Outcome(data, (title, shapes, times, work, rest, remark))


def _others(program) -> str:
    """What is launched besides: it is not predicted."""
    counts = Counter([*program.stock_kernels, *(f"finish_resting of {one.layer}" for one in _filling(program))])
    names = (f"{count} x {name}" if count > 1 else name for name, count in counts.items())
    return f"Not in the tables, launched besides: {', '.join(names) or 'nothing'}."


def _filling(program) -> list:
    """The launches before which another one writes what a list leaves out."""
    return [one for one in program.launches if one.fills_resting]


def _measured(artifact: Artifact, inputs: Path | None, repeats: int) -> tuple[dict | None, str]:
    specs = artifact.inputs
    batch = arrays.batches(arrays.read_inputs(inputs, specs), specs)[0] if inputs else arrays.random_batch(specs)
    try:
        measurement = artifact.profile(*(batch[spec.name] for spec in specs), repeats=repeats)
    except UnsupportedTargetError as error:
        return None, f"Not measured: {error}."
    return measurement.to_dict(), f"Measured: {tables.duration(measurement.latency_s)} for a run, launches included."


def _launches_measured(artifact: Artifact) -> list[float]:
    import tvm

    from espalier.measure.gpu_launches import launch_seconds

    return launch_seconds(artifact.program.functions, artifact.program.launches, tvm.cuda(0))


def _shape(one) -> tuple[str, ...]:
    launch = one.launch
    return (
        launch.layer,
        "x".join(map(str, launch.grid)),
        str(launch.blocks),
        str(launch.registers),
        tables.space(launch.shared_bytes + launch.static_shared_bytes),
        str(one.resident),
        tables.percent(one.occupancy, 1),
        str(one.waves),
        tables.percent(one.tail, 1),
    )


def _times(one, bit_operations: int, measured_s: float | None) -> tuple[str, ...]:
    launch = one.launch
    return (
        launch.layer,
        tables.quantity(launch.macs),
        tables.quantity(bit_operations) if bit_operations else tables.NONE,
        tables.space(launch.bytes),
        f"{one.roofline_s * 1e6:.2f} us",
        one.bound,
        f"{one.predicted_s * 1e6:.2f} us",
        f"{measured_s * 1e6:.2f} us" if measured_s else tables.NONE,
    )
