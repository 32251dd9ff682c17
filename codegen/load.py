"""From a folder that `Artifact.save` wrote back to an artifact."""

from __future__ import annotations

from pathlib import Path

from espalier.core.artifact import Artifact, from_manifest, read_manifest

from .cpu import program as cpu
from .cuda import program as cuda


def load_artifact(folder) -> Artifact:
    """The artifact in a folder, after all checksums were compared; CorruptArtifactError if it is damaged."""
    manifest = read_manifest(folder)
    load_program = cuda.load_program if manifest["target"]["kind"] == "cuda" else cpu.load_program
    return from_manifest(manifest, load_program(Path(folder)))
