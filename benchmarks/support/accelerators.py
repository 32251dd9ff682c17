"""Networks as accelerators on a board: from a QDQ file, or from a finished training with quantizers."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tvm

import espalier
from espalier.build import lowered
from espalier.codegen.fpga_hls.from_relax import streamed
from espalier.codegen.fpga_hls.graph import StreamGraph
from espalier.codegen.fpga_hls.network import StageNetwork
from espalier.codegen.fpga_hls.program import HLS, FpgaProgram
from espalier.codegen.fpga_hls.rtl.emit import emit
from espalier.core.calibration import Calibration
from espalier.core.files import write_files
from espalier.frontend.bundled import integer_model_path
from espalier.measure import agreement
from espalier.measure.fpga.hls_simulation import build_hls
from espalier.measure.synthesis.yosys import BENCHES
from espalier.targets.boards import BY_NAME
from espalier.training import export

from . import REPOSITORY
from .checkpoints import finished
from .cifar10 import normalise

BOARD = "pynq-z2"
LIMIT_S = 3 * 3600
"""Of one run of a tool."""

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

    def program(self, interval: int | None = None, board: str = BOARD) -> FpgaProgram:
        """For a board: at most so many cycles a frame, or the fastest that fits."""
        target = {"kind": "ext_dev", "device": board}
        if interval is not None:
            target["feature.frames_per_s"] = BY_NAME[board].clock_hz / interval
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


def hardware_digest(graph: StreamGraph) -> str:
    """SHA-256 of a design's SystemVerilog without its test benches: what cycles and cells are of."""
    sha = hashlib.sha256()
    for path, text in sorted(emit(graph).items()):
        if Path(path).name not in BENCHES:
            sha.update(f"{path} {len(text)};".encode() + text.encode())
    return sha.hexdigest()


def emulated(program: FpgaProgram, x: np.ndarray, exact_widths: bool = True) -> dict:
    """What the emitted C++ gives for the images x under g++, against the integer network.

    exact_widths: sums of the bits that hardware has, else integers of 32 bits.
    """
    given, expected = (np.stack(one) for one in zip(*(program.vectors([image[None]]) for image in x)))
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), program.projects())
        bench = build_hls(Path(folder) / HLS, Path(folder) / "build", exact_widths, limit_s=LIMIT_S)
        found = bench.run(given, expected, limit_s=LIMIT_S)
    return {
        "widths": "ap_int, as in hardware" if exact_widths else "32 bits",
        "images": len(x),
        "numbers": int(expected.size),
        "numbers_that_differ": found.wrong,
        "digest": program.digest(),
        "compile_s": round(found.compile_s, 1),
        "seconds_per_image": round(found.run_s / len(x), 4),
    }
