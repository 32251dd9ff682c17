"""An accelerator: what the host computes in its place, its graph, and the projects that it is emitted as."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from espalier.core.errors import CorruptArtifactError
from espalier.targets.boards import BY_NAME, Board, Resources

from ..cpu.program import CpuProgram, load_program
from .cost.resources import graph_resources
from .graph import Convolution, StreamGraph
from .hls import emit as hls
from .rtl import emit as rtl
from .saved_graph import from_text, to_text
from .timing import Schedule, latency_cycles, schedule

DESCRIPTION, GRAPH, ARRAYS = "accelerator.json", "graph.json", "graph.npz"
HLS, VECTORS = "hls", "hls/vectors"
IMAGE = "image"
STREAMS = 2
"""Of the host program's outputs, the last ones: the accelerator's input and output; of one that gives sums, what its
last stage reads."""


@dataclass(frozen=True)
class FpgaProgram:
    """host: the integer network for a CPU, which also gives the accelerator's input and output.

    layers: stage -> layer of the model. image: an input of the host's program, for the project's own tests.
    remarks: for the artifact's report.
    """

    host: CpuProgram
    graph: StreamGraph
    board: Board
    layers: Mapping[str, str]
    image: np.ndarray
    remarks: tuple[str, ...] = ()

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """What the accelerator and its host compute, on the host alone."""
        return self.host.run(inputs)[:-STREAMS]

    def sums(stage: Convolution, x: np.ndarray) -> np.ndarray:
    """The int32 sums of a convolution, [H, W, C_out], of x uint8 [H, W, C_in]."""
    top, left, bottom, right = stage.padding
    centred = x.astype(np.int64) - stage.arithmetic.x_zero
    padded = np.pad(centred, ((top, bottom), (left, right), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, stage.kernel, (0, 1))
    windows = windows[:: stage.stride[0], :: stage.stride[1]]
    equation = "hwcij,cij->hwc" if stage.is_depthwise else "hwcij,ocij->hwo"
    weights = stage.weights[:, 0] if stage.is_depthwise else stage.weights
    return (np.einsum(equation, windows, weights.astype(np.int64)) + stage.bias).astype(np.int32)


def _stream_order(array: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """[1, C, H, W] or [1, C] to [H, W, C]."""
    height, width, channels = shape
    return np.ascontiguousarray(array.reshape(channels, height, width).transpose(1, 2, 0))
