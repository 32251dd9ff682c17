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

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        data = dataclasses.asdict(self)
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
