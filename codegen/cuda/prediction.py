"""What a program's launches should cost on its GPU, from the compiled kernels alone: no device is touched.

It is a prediction and is called one wherever it is shown. Registers and shared memory are ptxas's, the rest follows
from shapes and from the device's data; `choose_schedule` says what the predicted time is made of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from espalier.targets.gpu import Gpu

from .kernels.choose_schedule import BLOCK_CLOCKS, resident_blocks, waves_of
from .launches import KernelLaunch


@dataclass(frozen=True)
class Prediction:
    """One launch on one GPU.

    resident: blocks that an SM holds; occupancy: of its warps. waves, tail: see `Waves`. useful: share of the issued
    multiply-accumulates that the layer needs. roofline_s: the larger of bytes over bandwidth and multiply-accumulates
    over the tensor cores' peak. predicted_s: by the analytic rule that chose the schedule. bound: what takes longest by
    these, "compute" or "memory", or "launch" if both take less than a block's start and end.
    """

    launch: KernelLaunch
    resident: int
    occupancy: float
    waves: int
    tail: float
    useful: float
    roofline_s: float
    predicted_s: float
    bound: str

    def to_dict(self) -> dict:
        """Plain values for JSON, marked as a prediction."""
        return {"kind": "prediction", **dataclasses.asdict(self)}


def predict(launches: Sequence[KernelLaunch], gpu: Gpu) -> list[Prediction]:
    """A prediction for each launch, in program order."""
    return [_predict(launch, gpu) for launch in launches]


def _predict(launch: KernelLaunch, gpu: Gpu) -> Prediction:
    shared = launch.shared_bytes + launch.static_shared_bytes
    resident = max(1, resident_blocks(gpu, launch.threads, launch.registers, shared))
    waves = waves_of(gpu, launch.blocks, resident)
    compute_s = launch.macs / gpu.peak_macs_s(launch.number_format)
    memory_s = launch.bytes / gpu.bandwidth_bytes_s
    parts = {"compute": compute_s, "memory": memory_s, "launch": BLOCK_CLOCKS / gpu.clock_hz}
    return Prediction(
        launch,
        resident,
        resident * -(-launch.threads // 32) / gpu.warps,
        waves.waves,
        waves.tail,
        launch.macs / launch.issued_macs,
        max(compute_s, memory_s),
        launch.predicted_s,
        max(parts, key=parts.__getitem__),
    )
