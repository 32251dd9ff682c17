"""From a folder that `Artifact.save` wrote back to an artifact."""

from __future__ import annotations

from pathlib import Path

from espalier.core.artifact import Artifact, from_manifest, read_manifest

from .cpu.program import load_program


def load_artifact(folder) -> Artifact:
    """The artifact in a folder, after all checksums were compared; CorruptArtifactError if it is damaged."""
    return from_manifest(read_manifest(folder), load_program(Path(folder)))
