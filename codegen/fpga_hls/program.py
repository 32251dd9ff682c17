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
from espalier.core.files import write_files
from espalier.targets.boards import BY_NAME, Board, Resources

from ..cpu.program import CpuProgram, load_program
from .cost.resources import graph_resources
from .graph import StreamGraph
from .hls import emit as hls
from .rtl import emit as rtl
from .rtl.beats import beats_of, hexadecimal
from .saved_graph import from_text, to_text
from .stages import Convolution
from .timing import Schedule, latency_cycles, schedule

DESCRIPTION, GRAPH, ARRAYS = "accelerator.json", "graph.json", "graph.npz"
HLS, HLS_VECTORS, RTL_VECTORS = "hls", "hls/vectors", "rtl/vectors"
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

    def vectors(self, inputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(input, output) of the accelerator for one image: uint8 and uint8 or int32, [H, W, C] each."""
        first, last = self.host.run(inputs)[-STREAMS:]
        given = _stream_order(first, self.graph.input.shape)
        if self.graph.output.bits == 8:
            return given, _stream_order(last, self.graph.output.shape)
        stage = self.graph.stage(self.graph.output.source)
        return given, sums(stage, _stream_order(last, (*stage.in_shape[:2], stage.channels_in)))

    @cached_property
    def schedule(self) -> Schedule:
        """Cycle for cycle, see `timing`."""
        return schedule(self.graph)

    @cached_property
    def latency_cycles(self) -> int:
        """From an image's first beat in to its last one out, of an accelerator that was idle."""
        return latency_cycles(self.graph)

    @cached_property
    def resources(self) -> Resources:
        """Estimated, see `cost.resources`."""
        return graph_resources(self.graph, self.board.family)

    def projects(self) -> dict[str, str]:
        """Path -> text of everything that is emitted."""
        return dict(self._projects)

    @cached_property
    def _projects(self) -> dict[str, str]:
        cpp = hls.emit(self.graph, self.board.part, self.board.clock_hz, self.board.packs)
        return {f"{HLS}/{path}": text for path, text in cpp.items()} | rtl.emit(self.graph, self.board.packs)

    def digest(self) -> str:
        """SHA-256 of what is emitted, as 64 hexadecimal digits."""
        sha = hashlib.sha256()
        for path, text in sorted(self.projects().items()):
            content = text.encode()
            sha.update(f"{path} {len(content)};".encode() + content)
        return sha.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the host's program, the graph, and the projects into an existing folder."""
        self.host.save(folder)
        text, arrays = to_text(self.graph)
        (folder / GRAPH).write_text(text)
        np.savez_compressed(folder / ARRAYS, **arrays, **{IMAGE: self.image})
        (folder / DESCRIPTION).write_text(json.dumps(self.description(), indent=2) + "\n")
        write_files(folder, self.projects())
        self._save_vectors(folder)  # after the host was saved: running it leaves traces

    def _save_vectors(self, folder: Path) -> None:
        """What the projects' test benches read: the image as the accelerator's input, and what it makes of it."""
        names, edges = ("input", "expected"), (self.graph.input, self.graph.output)
        (folder / HLS_VECTORS).mkdir(parents=True, exist_ok=True)
        for name, edge, tensor in zip(names, edges, self.vectors([self.image]), strict=True):
            lines = hexadecimal(beats_of(tensor, edge.lanes, edge.bits), rtl.data_bits(edge))
            write_files(folder, {f"{RTL_VECTORS}/{name}.hex": lines})
            tensor.tofile(folder / HLS_VECTORS / f"{name}.bin")

    def description(self) -> dict:
        """What `load_fpga_program` needs besides the graph, and what a reader may want to know; JSON-able."""
        return {
            "board": self.board.name,
            "clock_hz": self.board.clock_hz,
            "layers": dict(self.layers),
            "remarks": list(self.remarks),
            "interval_cycles": self.schedule.interval_cycles,
            "latency_cycles": self.latency_cycles,
            "estimated_resources": dataclasses.asdict(self.resources),
            "digest": self.digest(),
        }

    def sizes(self) -> None:
        """No container of weights: they are in the design."""


def load_fpga_program(folder: Path) -> FpgaProgram:
    """The program that `FpgaProgram.save` wrote into a folder; CorruptArtifactError if it cannot be loaded."""
    host = load_program(folder)
    try:
        data = json.loads((folder / DESCRIPTION).read_text())
        with np.load(folder / ARRAYS) as file:
            arrays = dict(file)
        graph = from_text((folder / GRAPH).read_text(), arrays)
        board = dataclasses.replace(BY_NAME[data["board"]], clock_hz=data["clock_hz"])
        return FpgaProgram(host, graph, board, data["layers"], arrays[IMAGE], tuple(data["remarks"]))
    except (OSError, ValueError, KeyError) as error:
        raise CorruptArtifactError(f"{folder}: cannot be loaded ({str(error).splitlines()[0]})") from None


def sums(stage: Convolution, x: np.ndarray) -> np.ndarray:
    """The int32 sums that a convolution gives, [H, W, C_out], of x uint8 [H, W, C_in]."""
    top, left, bottom, right = stage.padding
    centred = x.astype(np.int64) - stage.arithmetic.x_zero
    padded = np.pad(centred, ((top, bottom), (left, right), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, stage.kernel, (0, 1))
    windows = windows[:: stage.stride[0], :: stage.stride[1]]
    if stage.is_depthwise:
        found = np.einsum("hwcij,cij->hwc", windows, stage.weights[:, 0].astype(np.int64))
    else:  # float64 holds these integers exactly, and libraries multiply matrices of it
        axes = ((2, 3, 4), (1, 2, 3))
        found = np.tensordot(windows.astype(np.float64), stage.weights.astype(np.float64), axes).astype(np.int64)
    found = found + stage.bias
    return (np.maximum(found, 0) if stage.is_rectified else found).astype(np.int32)


def _stream_order(array: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """[1, C, H, W] or [1, C] to [H, W, C]."""
    height, width, channels = shape
    return np.ascontiguousarray(array.reshape(channels, height, width).transpose(1, 2, 0))
