"""The compiled, saved, loadable thing that a build returns."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from .errors import CorruptArtifactError, InvalidInputError
from .files import sha256_of
from .layers import LayerRecord
from .plan import Plan

VERSION = 3
MANIFEST = "artifact.json"


@dataclass(frozen=True)
class TensorSpec:
    """Name, static shape and numpy type name of an input or an output."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {list(self.shape)}"

    def check(self, array) -> np.ndarray:
        """`array` as a contiguous numpy array; InvalidInputError if its shape or type differs."""
        array = np.asarray(array)
        if array.shape != self.shape or array.dtype != self.dtype:
            raise InvalidInputError(
                f"input {self.name}: got {array.dtype} {list(array.shape)}, accepted is {self.dtype} {list(self.shape)}"
            )
        return np.asarray(array, order="C")  # ascontiguousarray makes one axis of none


class Program(Protocol):
    """What a code generator puts into an artifact: something that runs and can be written to a folder."""

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Compute the outputs for inputs in the order of `Artifact.inputs`."""

    def save(self, folder: Path) -> None:
        """Write the program's files into an existing folder."""


@dataclass(frozen=True)
class Artifact:
    """A compiled network.

    inputs, outputs: names, shapes and types.
    layers: one record for each layer, in program order.
    report: remarks of the compiler, one line each: what was gated, what was not, and why.
    target: the target as a JSON-able dict with the key "kind".
    profiler: how `profile` measures; set by the layer above.
    """

    program: Program
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    target: Mapping
    plan: Plan
    layers: tuple[LayerRecord, ...] = ()
    report: tuple[str, ...] = ()
    profiler: Callable | None = field(default=None, compare=False, repr=False)

    def __call__(self, *args, **named):
        """Run on numpy arrays, given by position or by name.

        Returns one array, or a list where the network has several outputs.
        Raises InvalidInputError for a missing, unknown, wrong-shaped or wrong-typed input.
        """
        results = self.program.run(self.bind(*args, **named))
        return results[0] if len(results) == 1 else results

    def bind(self, *args, **named) -> list[np.ndarray]:
        """The checked inputs, in the order of `inputs`."""
        if len(args) == 1 and isinstance(args[0], Mapping):
            args, named = (), {**args[0], **named}
        if len(args) > len(self.inputs):
            raise InvalidInputError(f"got {len(args)} inputs, accepted are {len(self.inputs)}: {self._signature()}")
        given = {spec.name: array for spec, array in zip(self.inputs, args)}
        twice = sorted(given.keys() & named.keys())
        unknown = sorted(named.keys() - {spec.name for spec in self.inputs})
        given.update(named)
        missing = [spec.name for spec in self.inputs if spec.name not in given]
        for names, problem in ((twice, "given twice"), (unknown, "unknown"), (missing, "missing")):
            if names:
                raise InvalidInputError(f"input {names[0]}: {problem}, accepted are {self._signature()}")
        return [spec.check(given[spec.name]) for spec in self.inputs]

    def profile(self, *args, **options):
        """Measure on this machine; returns a `Measurement`. Options: `repeats` (int)."""
        return self.profiler(self, *args, **options)

    def save(self, folder) -> None:
        """Write to a folder that does not exist yet, or replace an artifact there; all or nothing."""
        folder = Path(folder)
        if folder.exists() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
            raise InvalidInputError(f"{folder}: exists and is no saved artifact, accepted is a new or empty folder")
        try:
            self._replace(folder)
        except OSError as error:
            raise InvalidInputError(f"{folder}: cannot be written ({error.strerror or error})") from None

    def _replace(self, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            fresh = Path(temporary) / "artifact"
            fresh.mkdir()
            self.program.save(fresh)
            files = sorted(path for path in fresh.rglob("*") if path.is_file())
            manifest = self.manifest({path.relative_to(fresh).as_posix(): sha256_of(path) for path in files})
            (fresh / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
            if folder.exists():
                folder.rename(Path(temporary) / "old")
            fresh.rename(folder)

    def manifest(self, files: dict[str, str]) -> dict:
        return {
            "espalier_artifact": VERSION,
            "target": dict(self.target),
            "plan": self.plan.to_dict(),
            "inputs": [dataclasses.asdict(spec) for spec in self.inputs],
            "outputs": [dataclasses.asdict(spec) for spec in self.outputs],
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
            "report": list(self.report),
            "files": files,
        }

    def _signature(self) -> str:
        return ", ".join(str(spec) for spec in self.inputs)


def read_manifest(folder) -> dict:
    """The manifest of a saved artifact, after every file's checksum was compared.

    Raises CorruptArtifactError when something is missing, damaged or of another version.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        version, files = manifest["espalier_artifact"], manifest["files"]
        files = dict(files)
    except (OSError, ValueError, KeyError, TypeError):
        raise CorruptArtifactError(
            f"{folder}: no readable {MANIFEST}, accepted is a folder that save or `espalier compile` wrote"
        ) from None
    if version != VERSION:
        raise CorruptArtifactError(f"{folder}: version {version!r}, accepted is {VERSION}; compile the model again")
    for name, expected in files.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != expected:
            raise CorruptArtifactError(f"{path}: missing or damaged, compile the model again")
    return manifest


def from_manifest(manifest: dict, program: Program) -> Artifact:
    """The artifact that a manifest describes, around a loaded program."""
    return Artifact(
        program,
        inputs=tuple(TensorSpec(s["name"], tuple(s["shape"]), s["dtype"]) for s in manifest["inputs"]),
        outputs=tuple(TensorSpec(s["name"], tuple(s["shape"]), s["dtype"]) for s in manifest["outputs"]),
        target=manifest["target"],
        plan=Plan.from_dict(manifest["plan"]),
        layers=tuple(LayerRecord(**layer) for layer in manifest["layers"]),
        report=tuple(manifest["report"]),
    )
