"""An IRModule of quantized Espalier operators becomes a streaming accelerator."""

from __future__ import annotations

import numpy as np
import tvm
from tvm.target import Target

from espalier.core.choices import KernelTimes
from espalier.ir.dataflow import shape_of
from espalier.targets.cpu import cpu_target
from espalier.targets.fpga import board_of, frames_per_s

from ..cpu import generate as cpu
from .folding import Design, fold
from .from_relax import Streamed, streamed
from .host import with_outputs
from .program import FpgaProgram


def generate(mod: tvm.IRModule, target: Target, lower: bool = True, times: KernelTimes | None = None) -> FpgaProgram:
    """Fold the network onto the board; lower, times: of the host's program, see `codegen.cpu.generate`.

    Raises InvalidPlanError for a layer in floating point, UnsupportedOpError for what no stage computes, and
    InfeasibleDesignError for what does not fit.
    """
    board = board_of(target)
    cut = streamed(mod)
    design = fold(cut.network, board, frames_per_s(target))
    host = cpu.generate(with_outputs(mod, cut.seen), cpu_target({"kind": "llvm"}), lower, times)
    image = _image(shape_of(mod["main"].params[0]), cut)
    return FpgaProgram(host, design.graph, board, cut.network.layers, image, _remarks(design, board))


def _image(shape: tuple[int, ...], cut: Streamed) -> np.ndarray:
    """Random real numbers for the input of the module, of the range that the input of the stages has."""
    numbers = np.random.default_rng(0).integers(0, 256, shape)
    return ((numbers - cut.quantize.zero) * cut.quantize.scale).astype(np.float32)


def _remarks(design: Design, board) -> tuple[str, ...]:
    have, use = board.resources, design.resources
    seconds = design.interval_cycles / board.clock_hz
    return (
        f"{board.name}: {design.interval_cycles} cycles a frame, {1 / seconds:.0f} frames a second at "
        f"{board.clock_hz / 1e6:g} MHz",
        f"{board.name}, estimated: {use.luts:.0f} of {have.luts:.0f} LUTs, {use.dsps:.0f} of {have.dsps:.0f} DSPs, "
        f"{use.bram_36k:g} of {have.bram_36k:g} blocks of 36 kbit",
    )
