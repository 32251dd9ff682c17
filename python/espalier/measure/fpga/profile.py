"""What an accelerator takes: by its models, by its emitted C++, or by its emitted SystemVerilog."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...codegen.fpga_hls.cost.cycles import interval_cycles
from ...codegen.fpga_hls.graph import StreamGraph
from ...codegen.fpga_hls.program import HLS, FpgaProgram
from ...codegen.fpga_hls.rtl.beats import beats_of, tensor_of
from ...codegen.fpga_hls.rtl.emit import data_bits
from ...codegen.fpga_hls.stages import Convolution
from ...core.artifact import Artifact
from ...core.errors import InvalidInputError
from ...core.files import write_files
from ...core.measurement import AcceleratorMeasurement, FifoMeasurement, StageMeasurement
from .hls_simulation import EmulationError, build_hls
from .power import estimated_power
from .rtl_simulation import RtlSimulation, build_rtl

SIMULATIONS = ("hls", "rtl")
RTL_FRAMES = 3
"""The same image again and again: the interval is steady between the last two."""


def profile(
    artifact: Artifact,
    *args,
    simulate: str | None = None,
    folder: str | Path | None = None,
    limit_s: float = 3600,
    **named,
) -> AcceleratorMeasurement:
    """Cycles, FIFOs and resources of an accelerator for one image.

    simulate: "hls" runs the emitted C++ under g++, "rtl" the emitted SystemVerilog under Verilator; both are compared
    with the integer body, number for number. None asks the models alone; only "rtl" measures cycles, and counts what
    switches, from which power is estimated.
    folder: where the project is built and its logs stay; a temporary one by default, kept where something fails.
    limit_s: of each tool, the simulator included.
    Raises InvalidInputError, ToolNotFoundError, ToolFailedError, SimulationError, and EmulationError if a number
    differs.
    """
    if simulate is not None and simulate not in SIMULATIONS:
        raise InvalidInputError(f"profile: simulate is {simulate!r}, accepted are {', '.join(SIMULATIONS)}")
    program, inputs = artifact.program, artifact.bind(*args, **named)
    if simulate is None:
        return _measurement(artifact, "none", None)
    given, expected = program.vectors(inputs)
    with _project(program, folder) as place:
        if simulate == "hls":
            built = build_hls(place / HLS, place / "build", limit_s=limit_s)
            found = built.run(given[None], expected[None], limit_s)
            _compare(found.outputs, expected[None], "HLS C++", place)
            return _measurement(artifact, simulate, None)
        graph = program.graph
        frames = [beats_of(given, graph.input.lanes)] * RTL_FRAMES
        built = build_rtl(place, limit_s, counts_switching=True)
        found = built.run(frames, data_bits(graph.input), limit_s=limit_s)
        outputs = np.stack(
            [tensor_of(one, graph.output.shape, graph.output.lanes, graph.output.bits) for one in found.outputs]
        )
        _compare(outputs, np.stack([expected] * RTL_FRAMES), "SystemVerilog", place)
        return _measurement(artifact, simulate, found)


@contextlib.contextmanager
def _project(program: FpgaProgram, folder: str | Path | None) -> Iterator[Path]:
    """A folder with the emitted projects; a temporary one goes away again if all went well."""
    place = Path(tempfile.mkdtemp(prefix="espalier-")) if folder is None else Path(folder).absolute()
    write_files(place, program.projects())
    yield place
    if folder is None:
        shutil.rmtree(place, ignore_errors=True)


def _compare(outputs: np.ndarray, expected: np.ndarray, what: str, place: Path) -> None:
    wrong = int((outputs != expected).sum())
    if wrong:
        raise EmulationError(
            f"{what}: {wrong} of {expected.size} numbers differ from the integer body; the project is in {place}"
        )


def _measurement(artifact: Artifact, simulate: str, found: RtlSimulation | None) -> AcceleratorMeasurement:
    program = artifact.program
    predicted, graph = program.schedule, program.graph
    return AcceleratorMeasurement(
        board=program.board.name,
        clock_hz=program.board.clock_hz,
        simulated=simulate,
        predicted_interval_cycles=predicted.interval_cycles,
        predicted_latency_cycles=program.latency_cycles,
        interval_cycles=found and found.interval_cycles,
        latency_cycles=found and found.latency_cycles,
        stages=tuple(_stages(artifact, found)),
        fifos=tuple(_fifos(graph, predicted.high_water, found)),
        estimated_resources=dataclasses.asdict(program.resources),
    )


def _stages(artifact: Artifact, found: RtlSimulation | None) -> Iterator[StageMeasurement]:
    program, bits = artifact.program, {layer.name: layer.bit_operations for layer in artifact.layers}
    powers = estimated_power(program, found) if found else {}
    for stage in program.graph.stages:
        activity, layer = found and found.stages.get(stage.name), program.layers.get(stage.name, "")
        yield StageMeasurement(
            stage.name,
            layer,
            type(stage).__name__,
            interval_cycles(stage),
            bits[layer] if isinstance(stage, Convolution) else 0,
            **(dataclasses.asdict(activity) if activity else {}),
            power=powers.get(stage.name),
        )


def _fifos(graph: StreamGraph, predicted: dict[str, int], found: RtlSimulation | None) -> Iterator[FifoMeasurement]:
    for edge in graph.edges:
        use = found and found.fifos.get(f"fifo_{edge.name}")
        yield FifoMeasurement(edge.name, edge.depth, predicted[edge.name], use.high_water if use else None)
