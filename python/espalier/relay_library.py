"""Libraries as Relay knew them: `lib["default"](device)`, one file, loadable again.

A library file is the compiled shared library with the artifact's manifest appended. The loader of
the operating system ignores what follows the library, so the file stays an ordinary one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm

from .codegen.cpu.program import CpuProgram, load_library
from .codegen.cuda.program import CudaProgram
from .core.artifact import Artifact, from_manifest
from .core.errors import CorruptArtifactError, InvalidInputError, UnsupportedTargetError
from .measure.local import profile

_MARK = b"espalier-library"
_LENGTH = 8
_DEVICE_TYPES = {"llvm": ("cpu",), "cuda": ("cuda",), "ext_dev": ("cpu", "ext_dev")}


@dataclass(frozen=True)
class GraphProgram:
    """An artifact on a device: what `lib["default"](device)` returns and GraphModule takes."""

    artifact: Artifact
    device: tvm.runtime.Device


@dataclass(frozen=True)
class Library:
    """What `relay.build` and `tvm.runtime.load_module` return; `artifact` is the network in it."""

    artifact: Artifact
    name: str = "default"

    def __getitem__(self, name: str) -> Callable[..., GraphProgram]:
        """The function that puts the network onto a device; InvalidInputError for another name."""
        if name != self.name:
            raise InvalidInputError(f"library: has no function {name!r}, accepted is {self.name!r}")
        return self._on_device

    def export_library(self, file_name) -> None:
        """Write one file that `tvm.runtime.load_module` reads; its name ends in .so.

        Raises UnsupportedTargetError for a target that compiles to no shared library.
        """
        path = Path(file_name)
        program = self.artifact.program
        if not hasattr(program, "link"):
            kind = self.artifact.target["kind"]
            raise UnsupportedTargetError(
                f"export_library: {kind} gives no shared library, use lib.artifact.save(folder)"
            )
        if path.suffix != ".so":
            raise InvalidInputError(f"export_library {path}: got the ending {path.suffix!r}, accepted is .so")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            fresh = Path(folder) / path.name
            program.link(fresh)
            _append_manifest(fresh, self.artifact.manifest({}) | {"name": self.name, "program": program.description()})
            os.replace(fresh, path)

    def _on_device(self, device: tvm.runtime.Device) -> GraphProgram:
        kind = self.artifact.target["kind"]
        accepted = _DEVICE_TYPES.get(kind, (kind,))
        if device.type not in accepted:
            raise UnsupportedTargetError(
                f"library: compiled for {kind}, got the device {device}, accepted is {' or '.join(accepted)}"
            )
        return GraphProgram(self.artifact, device)


def recognising_ours(load_module: Callable) -> Callable:
    """TVM's `load_module`, except that a file written by `Library.export_library` gives a Library."""

    def load(path):
        found = _read_manifest(path)
        if found is None:
            return load_module(path)
        manifest, size = found
        content = np.memmap(path, np.uint8, "r", shape=(size,))
        if manifest["target"]["kind"] == "cuda":  # opened on the GPU, when it first runs
            program = CudaProgram.from_library(content, manifest["program"])
        else:
            program = CpuProgram.from_library(load_library(Path(path)), content, manifest["program"])
        return Library(dataclasses.replace(from_manifest(manifest, program), profiler=profile), manifest["name"])

    load.__doc__ = load_module.__doc__
    return load


def _append_manifest(path: Path, manifest: dict) -> None:
    text = json.dumps(manifest).encode()
    with path.open("ab") as file:
        file.write(text + len(text).to_bytes(_LENGTH, "little") + _MARK)


def _read_manifest(path) -> tuple[dict, int] | None:
    """The manifest at the end of a file and the size of the library before it, None if it has none."""
    ending = _LENGTH + len(_MARK)
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - ending))
            length, mark = int.from_bytes(file.read(_LENGTH), "little"), file.read()
            if mark != _MARK:
                return None
            start = file.seek(max(0, size - ending - length))
            manifest = json.loads(file.read(length))
            return {"program": manifest["program"], **manifest}, start  # KeyError: another version's
    except OSError:
        return None
    except (ValueError, KeyError):
        raise CorruptArtifactError(f"{path}: its manifest is damaged, export the library again") from None
