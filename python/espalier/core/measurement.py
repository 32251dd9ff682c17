"""Measurements: what was measured, how, on what."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from .layers import LayerRecord


@dataclass(frozen=True)
class Timing:
    """Seconds over repeats: the median and the spread between the quartiles."""

    median_s: float
    quartile1_s: float
    quartile3_s: float
    repeats: int

    @staticmethod
    def of(samples: Sequence[float]) -> Timing:
        """Summarise measured seconds; at least one sample is needed."""
        ordered = sorted(samples)

        def quantile(q: float) -> float:
            position = q * (len(ordered) - 1)
            low = int(position)
            high = min(low + 1, len(ordered) - 1)
            return ordered[low] + (ordered[high] - ordered[low]) * (position - low)

        return Timing(quantile(0.5), quantile(0.25), quantile(0.75), len(ordered))


@dataclass(frozen=True)
class LayerMeasurement:
    """Time of one layer and the work it did for one sample; see `LayerRecord` for the fields."""

    layer: LayerRecord
    latency_s: float

    @property
    def gflops(self) -> float:
        """Achieved 10^9 floating-point operations per second (two for each MAC done)."""
        return 2 * self.layer.macs / self.latency_s / 1e9 if self.latency_s else 0.0


@dataclass(frozen=True)
class Measurement:
    """A profile: the whole artifact and its layers, for one batch.

    latency_s: median seconds of one whole run; `timing` holds the spread.
    glue_s: seconds spent in operators that belong to no layer (pooling, layout changes).
    macs, macs_dense: multiply-accumulates of one sample, done and possible.
    """

    latency_s: float
    macs: int
    macs_dense: int
    timing: Timing
    layers: tuple[LayerMeasurement, ...] = ()
    glue_s: float = 0.0
    environment: dict = field(default_factory=dict)

    @property
    def bit_operations(self) -> int:
        """Of the products of all layers, for one sample; see `core.formats.bit_operations`."""
        return sum(one.layer.bit_operations for one in self.layers)

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        data = dataclasses.asdict(self)
        data["bit_operations"] = self.bit_operations
        data["layers"] = [
            {
                **dataclasses.asdict(m.layer),
                "bit_operations": m.layer.bit_operations,
                "latency_s": m.latency_s,
                "gflops": m.gflops,
            }
            for m in self.layers
        ]
        return data

    def to_json(self) -> str:
        """The measurement as a JSON text."""
        return json.dumps(self.to_dict(), indent=2)


@dataclass(frozen=True)
class PowerEstimate:
    """Dynamic power by published energies, not a measured one, see `measure.fpga.power`.

    toggles_per_cycle: changes of an average bit of the operands in a cycle, counted in the simulation. logic_w: of
    look-up tables and flip-flops with their wires and clock; dsps_w: of multipliers; blocks_w: of block RAMs.
    """

    toggles_per_cycle: float
    logic_w: float
    dsps_w: float
    blocks_w: float
    label: str = "estimate"

    @property
    def total_w(self) -> float:
        """All of it."""
        return self.logic_w + self.dsps_w + self.blocks_w


@dataclass(frozen=True)
class StageMeasurement:
    """A stage of an accelerator. interval_cycles: it needs between frames, by its model.

    busy, starved, blocked, fill: cycles of the simulation in which it worked, waited for its input or for room behind
    it, and before it began; None where nothing was simulated, or for a stage that only passes beats on.
    power: estimated from the simulated SystemVerilog, None without. bit_operations: of the products of its layer, for
    one sample, 0 for a stage that multiplies no weights; see `core.formats.bit_operations`.
    """

    name: str
    layer: str
    kind: str
    interval_cycles: int
    bit_operations: int
    busy: int | None = None
    starved: int | None = None
    blocked: int | None = None
    fill: int | None = None
    power: PowerEstimate | None = None


@dataclass(frozen=True)
class FifoMeasurement:
    """A FIFO between stages. depth, predicted, high_water: beats it holds, is to hold at most, and held at most."""

    name: str
    depth: int
    predicted: int
    high_water: int | None = None


@dataclass(frozen=True)
class AcceleratorMeasurement:
    """A profile of an accelerator for one image.

    simulated: "none", "hls" (answers alone) or "rtl" (answers and cycles), all equal to the integer body.
    predicted_*: of the models. interval_cycles: between frames; latency_cycles: from a frame's first beat in to its
    last one out; both simulated, None without.
    estimated_resources: LUTs, flip-flops, DSPs and blocks of RAM by the models, before synthesis.
    """

    board: str
    clock_hz: float
    simulated: str
    predicted_interval_cycles: int
    predicted_latency_cycles: int
    interval_cycles: int | None
    latency_cycles: int | None
    stages: tuple[StageMeasurement, ...]
    fifos: tuple[FifoMeasurement, ...]
    estimated_resources: dict

    @property
    def frames_per_s(self) -> float:
        """At the clock that was asked for; simulated, else predicted."""
        return self.clock_hz / (self.interval_cycles or self.predicted_interval_cycles)

    @property
    def latency_s(self) -> float:
        """As above."""
        return (self.latency_cycles or self.predicted_latency_cycles) / self.clock_hz

    @property
    def bit_operations(self) -> int:
        """Of all stages."""
        return sum(stage.bit_operations for stage in self.stages)

    @property
    def estimated_power_w(self) -> float | None:
        """Of all stages, dynamic; None where no SystemVerilog was simulated."""
        powers = [stage.power.total_w for stage in self.stages if stage.power]
        return sum(powers) if powers else None

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        derived = ("frames_per_s", "latency_s", "bit_operations", "estimated_power_w")
        return {**dataclasses.asdict(self), **{name: getattr(self, name) for name in derived}}
