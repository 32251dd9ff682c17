"""ResNet-8 as an accelerator on a board: from a QDQ file, or from a finished training with quantizers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tvm

import espalier
from espalier.build import lowered
from espalier.codegen.fpga_hls.from_relax import streamed
from espalier.codegen.fpga_hls.network import StageNetwork
from espalier.codegen.fpga_hls.program import FpgaProgram
from espalier.core.calibration import Calibration
from espalier.frontend.bundled import integer_model_path
from espalier.measure import agreement
from espalier.targets.boards import BY_NAME
from espalier.training import export

from . import REPOSITORY
from .checkpoints import finished
from .cifar10 import normalise

BOARD = "pynq-z2"
DESIGNS = {
    "dense": (integer_model_path(), 40_000),
    "mixed": (REPOSITORY / "benchmarks" / "checkpoints" / "resnet8-mixed.pt", 20_000),
}
"""By name: the model, and the most cycles between images. bench_fpga.py's record has them."""


@dataclass(frozen=True)
class Source:
    """A quantized network. normalised: whether its images are, or pixels from 0 to 255."""

    mod: tvm.IRModule
    plan: espalier.Plan
    calibration: Calibration
    normalised: bool

    @staticmethod
    def of(path: Path) -> Source:
        """Of a file: an ONNX model, or weights that a training has finished."""
        if path.suffix != ".pt":
            return Source(espalier.from_onnx(path), espalier.Plan(), Calibration(), False)
        return Source(*export(finished(path).model, torch.zeros(1, 3, 32, 32)), True)

    def program(self, interval: int | None = None) -> FpgaProgram:
        """For the board: at most so many cycles a frame, or the fastest that fits."""
        target = {"kind": "ext_dev", "device": BOARD}
        if interval is not None:
            target["feature.frames_per_s"] = BY_NAME[BOARD].clock_hz / interval
        return espalier.build(self.mod, target, self.plan, self.calibration).program

    def network(self) -> StageNetwork:
        """Its stages before they are folded."""
        return streamed(lowered(self.mod, self.plan, self.calibration)).network

    def inputs(self, images: np.ndarray) -> np.ndarray:
        """float32 [N, 3, 32, 32] from uint8 [N, 32, 32, 3]."""
        return normalise(images) if self.normalised else images.transpose(0, 3, 1, 2).astype(np.float32)


def top1(program: FpgaProgram, x: np.ndarray, labels: np.ndarray) -> float:
    """Percent that the integer network gets right, on the host: what the accelerator computes, bit for bit."""
    return round(100 * agreement.top1(np.concatenate([program.run([one[None]])[0] for one in x]), labels), 2)
