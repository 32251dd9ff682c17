"""`espalier demo`: the bundled network, dense, with calibrated and with trained gates, against ONNX Runtime."""

from __future__ import annotations

import time

from espalier.core.errors import ToolNotFoundError
from espalier.core.plan import Plan
from espalier.report import tables

from .output import Outcome, steps

CALIBRATED = (0.75,)
"""Densities at which gates are fitted to the dense network."""

REFERENCE = "onnxruntime"
RIDGES = (100.0,)
"""One ridge, the one that calibration chooses for this network: comparing several takes longer than all the rest."""


def run(threads: int, rounds: int) -> Outcome:
    """Compile, calibrate, measure and compare; one table."""
    from espalier.frontend import bundled

    from . import contest

    start = time.perf_counter()
    sample = bundled.sample()
    ours = [contest.ours(name, artifact) for name, artifact in _artifacts(sample.calibration_images).items()]
    name = ours[0].artifact.inputs[0].name
    batches = [{name: sample.images[i : i + 1]} for i in range(len(sample.images))]
    others, notes = _peers(ours[0].artifact, bundled.model_path(), threads)
    held = contest.hold([*others, *ours], batches, rounds, threads, sample.labels)
    seconds = time.perf_counter() - start
    base = held.rows[0].name
    data = {
        "contenders": [contest.row_data(row) for row in held.rows],
        "reference": base,
        "threads": threads,
        "rounds": rounds,
        "disturbed": held.disturbed,
        "demo_s": seconds,
    }
    origin = _origin(base, len(batches), len(sample.calibration_images), threads, rounds)
    return Outcome(data, (tables.demo_table(held.rows), *origin, *notes, *held.warning(), f"Took {seconds:.0f} s."))


def _artifacts(calibration_images) -> dict:
    """The bundled networks by name, compiled."""
    import espalier
    from espalier import api
    from espalier.frontend import bundled

    artifacts = {}
    with steps(4 + 2 * len(CALIBRATED)) as bar:
        bar.begin("reading the bundled network")
        mod = espalier.from_onnx(bundled.model_path())
        bar.begin("espalier, dense: compiling")
        artifacts["espalier, dense"] = api.build(mod)
        for density in CALIBRATED:
            plan, name = Plan(density=density), f"espalier, density {density}, calibrated"
            bar.begin(f"{name}: calibrating")
            calibration = api.calibrate(mod, calibration_images, plan, ridges=RIDGES, progress=bar.part)
            bar.begin(f"{name}: compiling")
            artifacts[name] = api.build(mod, plan=plan, calibration=calibration)
        bar.begin("reading the bundled network with gates")
        gated = espalier.from_onnx(bundled.gated_model_path())
        bar.begin("espalier, density 0.5, trained: compiling")
        artifacts["espalier, density 0.5, trained"] = api.build(gated)
    return artifacts


def _peers(artifact, model, threads: int) -> tuple[list, list[str]]:
    """ONNX Runtime, or a note that it is missing."""
    from . import contest

    try:
        return [contest.peer(REFERENCE, model, artifact, threads)], []
    except ToolNotFoundError as error:
        return [], [f"Not compared with {REFERENCE}: {error}"]


def _origin(base: str, images: int, calibration_images: int, threads: int, rounds: int) -> tuple[str, ...]:
    """Where the numbers come from."""
    from espalier.targets.cpu import host_cpu

    return (
        "Network: M-CifarNet, eight convolutions, CIFAR-10, bundled with Espalier, float32.",
        f"Accuracy: top-1 on the first {images:,} CIFAR-10 test images, bundled too.",
        f"Calibrated gates: fitted on {calibration_images} further images without labels; no training.",
        "Trained gates: learned together with the weights, by python -m espalier.training mcifarnet-gated.",
        f"Latency: one image, median of {rounds} rounds by turns in this process, "
        f"threads: {threads}, CPU: {host_cpu()}.",
        f"Speed-up: over {base}. MACs: multiply-accumulates for one image, those of the gates included.",
    )
