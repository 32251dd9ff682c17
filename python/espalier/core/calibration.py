"""What calibration or training found: gates, weights fitted to the gates, codes of weights, ranges of activations."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import EspalierError, InvalidInputError
from .files import write_atomically
from .formats import parse_format
from .quantized_weights import QuantizedWeights

VERSION = 3
READABLE = (1, 2, 3)
"""Version 1 had no ranges, version 2 no codes."""
MODES = ("select", "boost")


@dataclass(frozen=True)
class Gate:
    """Parameters of one channel gate.

    phi: float32 [C_in, C_out]; rho: float32 [C_out]; mode: "select" or "boost".
    Raises InvalidInputError when the shapes do not fit each other or a value is not finite.
    """

    phi: np.ndarray
    rho: np.ndarray
    mode: str = "select"

    def __post_init__(self):
        if self.mode not in MODES:
            raise InvalidInputError(f"gate mode: got {self.mode!r}, accepted are {', '.join(MODES)}")
        if self.phi.ndim != 2 or self.rho.shape != self.phi.shape[1:]:
            raise InvalidInputError(
                f"gate: phi is {list(self.phi.shape)} and rho {list(self.rho.shape)}, "
                "accepted are [C_in, C_out] and [C_out]"
            )
        if not (np.isfinite(self.phi).all() and np.isfinite(self.rho).all()):
            raise InvalidInputError("gate: phi or rho holds a value that is not finite")


@dataclass(frozen=True)
class LayerWeights:
    """Weight and bias of a layer: float32 [C_out, ...] and [C_out]."""

    weight: np.ndarray
    bias: np.ndarray

    def __post_init__(self):
        if self.bias.shape != self.weight.shape[:1]:
            raise InvalidInputError(
                f"layer weights: bias is {list(self.bias.shape)}, accepted is [{len(self.weight)}], as the weight's"
            )
        if not (np.isfinite(self.weight).all() and np.isfinite(self.bias).all()):
            raise InvalidInputError("layer weights: a value is not finite")

    @staticmethod
    def of(weight: np.ndarray, bias: np.ndarray | None) -> LayerWeights:
        """The weights of a layer that may have no bias."""
        return LayerWeights(weight, np.zeros(len(weight), weight.dtype) if bias is None else bias)


@dataclass(frozen=True)
class Range:
    """The values of a tensor that are worth a number of their own; what lies outside becomes one of the ends.

    Zero always has a number, so the range is taken to reach to it. Raises InvalidInputError for an end that is no
    finite number, or a low end above the high one.
    """

    low: float
    high: float

    def __post_init__(self):
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise InvalidInputError(f"range: got {self.low!r} to {self.high!r}, accepted are finite ends in order")


@dataclass(frozen=True)
class Calibration:
    """What was fitted to a network on unlabelled inputs.

    gates: by layer name.
    weights: by layer name, weights and biases that take the place of the network's own: fitted so that
        the layer still gives what it gave before its inputs were skipped, channels reordered so that
        those of like importance share a group.
    ranges: of the activations, by the names of `passes.quantize.tensor_names`: layers (their output) and inputs of
        the model by their own names.
    quantized: by layer name, codes that a training has settled on; other layers of the plan are fitted to its formats.
    model_digest: of the weights that were there before (`passes.prune.replace_weights.model_digest`).
    inputs_digest: of the inputs it was fitted on.
    remarks: what the fit found, one line each.
    """

    gates: Mapping[str, Gate] = field(default_factory=dict)
    weights: Mapping[str, LayerWeights] = field(default_factory=dict)
    model_digest: str = ""
    inputs_digest: str = ""
    remarks: tuple[str, ...] = ()
    ranges: Mapping[str, Range] = field(default_factory=dict)
    quantized: Mapping[str, QuantizedWeights] = field(default_factory=dict)

    def content(self) -> tuple[dict, dict[str, np.ndarray]]:
        """Everything in it: JSON-able values, and the arrays by a name of their own."""
        arrays = {}
        for name, gate in self.gates.items():
            arrays[f"phi/{name}"], arrays[f"rho/{name}"] = gate.phi, gate.rho
        for name, one in self.weights.items():
            arrays[f"weight/{name}"], arrays[f"bias/{name}"] = one.weight, one.bias
        for name, one in self.quantized.items():
            arrays[f"codes/{name}"], arrays[f"table/{name}"], arrays[f"scale/{name}"] = one.codes, one.table, one.scale
        header = {
            "espalier_calibration": VERSION,
            "modes": {name: gate.mode for name, gate in self.gates.items()},
            "layers": list(self.weights),
            "model_digest": self.model_digest,
            "inputs_digest": self.inputs_digest,
            "remarks": list(self.remarks),
            "ranges": {name: [one.low, one.high] for name, one in self.ranges.items()},
            "formats": {name: [str(one.format), one.components] for name, one in self.quantized.items()},
        }
        return header, arrays

    def save(self, path) -> None:
        """Write to one npz file."""
        header, arrays = self.content()
        buffer = io.BytesIO()
        np.savez_compressed(buffer, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)
        write_atomically(Path(path), buffer.getvalue())

    @staticmethod
    def load(path) -> Calibration:
        """Read what `save` wrote; InvalidInputError if the file is something else, damaged, or of another version."""
        try:
            header, arrays = _read(Path(path).read_bytes())
            version = header["espalier_calibration"]
            if version not in READABLE:
                accepted = " and ".join(map(str, READABLE))
                raise InvalidInputError(f"calibration {path}: version {version!r}, accepted are {accepted}")
            return Calibration(
                {
                    name: Gate(arrays[f"phi/{name}"], arrays[f"rho/{name}"], mode)
                    for name, mode in header["modes"].items()
                },
                {name: LayerWeights(arrays[f"weight/{name}"], arrays[f"bias/{name}"]) for name in header["layers"]},
                header["model_digest"],
                header["inputs_digest"],
                tuple(header["remarks"]),
                {name: Range(*ends) for name, ends in header.get("ranges", {}).items()},
                {name: _codes(name, *about, arrays) for name, about in header.get("formats", {}).items()},
            )
        except EspalierError:
            raise
        except Exception as error:  # a damaged archive raises nearly anything, from zlib.error to RuntimeError
            reason = type(error).__name__
            raise InvalidInputError(f"calibration {path}: not a file written by Calibration.save ({reason})") from None


def _codes(name: str, fmt: str, components: list, arrays: Mapping[str, np.ndarray]) -> QuantizedWeights:
    codes, table, scale = (arrays[f"{what}/{name}"] for what in ("codes", "table", "scale"))
    return QuantizedWeights(parse_format(fmt), codes, table, scale, components=tuple(map(tuple, components)))


def _read(content: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return json.loads(arrays.pop("header").tobytes()), arrays


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the names, types, shapes and bytes of arrays."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {array.dtype} {array.shape};".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()
