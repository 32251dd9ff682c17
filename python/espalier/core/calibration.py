"""What calibration found: the gates fitted to a network and the inputs' digest they were fitted on."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import InvalidInputError
from .files import write_atomically

VERSION = 1
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
                f"gate: phi is {list(self.phi.shape)} and rho {list(self.rho.shape)}, accepted are [C_in, C_out] and [C_out]"
            )
        if not (np.isfinite(self.phi).all() and np.isfinite(self.rho).all()):
            raise InvalidInputError("gate: phi or rho holds a value that is not finite")


@dataclass(frozen=True)
class Calibration:
    """Gates by layer name, and corrections of the layers' biases that go with them.

    gates: the fitted gates.
    bias_shift: float32 [C_out] by layer name, added to that layer's bias: it restores the mean that
        skipping its inputs took away.
    inputs_digest: of the inputs it was fitted on.
    """

    gates: Mapping[str, Gate] = field(default_factory=dict)
    bias_shift: Mapping[str, np.ndarray] = field(default_factory=dict)
    inputs_digest: str = ""

    def save(self, path) -> None:
        """Write to one npz file."""
        arrays = {}
        for name, gate in self.gates.items():
            arrays[f"phi/{name}"], arrays[f"rho/{name}"] = gate.phi, gate.rho
        for name, shift in self.bias_shift.items():
            arrays[f"bias_shift/{name}"] = shift
        header = {
            "espalier_calibration": VERSION,
            "modes": {name: gate.mode for name, gate in self.gates.items()},
            "inputs_digest": self.inputs_digest,
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)
        write_atomically(Path(path), buffer.getvalue())

    @staticmethod
    def load(path) -> Calibration:
        """Read what `save` wrote; InvalidInputError if the file is something else or damaged."""
        try:
            with np.load(path) as stored:
                arrays = {name: stored[name] for name in stored.files}
            header = json.loads(arrays.pop("header").tobytes())
            version = header["espalier_calibration"]
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            raise InvalidInputError(f"calibration {path}: not a file written by Calibration.save") from None
        if version != VERSION:
            raise InvalidInputError(f"calibration {path}: version {version!r}, accepted is {VERSION}")
        try:
            gates = {
                name: Gate(arrays[f"phi/{name}"], arrays[f"rho/{name}"], mode) for name, mode in header["modes"].items()
            }
        except KeyError as error:
            raise InvalidInputError(f"calibration {path}: the array {error} is missing") from None
        shifts = {name.split("/", 1)[1]: value for name, value in arrays.items() if name.startswith("bias_shift/")}
        return Calibration(gates, shifts, header.get("inputs_digest", ""))


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the names, types, shapes and bytes of arrays."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {array.dtype} {array.shape};".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()
