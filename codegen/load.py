"""From a folder that `Artifact.save` wrote back to an artifact."""

from __future__ import annotations

from pathlib import Path

from espalier.core.artifact import Artifact, from_manifest, read_manifest

from .cpu.program import load_program
from .fpga_hls.program import is_fpga_program, load_fpga_program


def load_artifact(folder) -> Artifact:
    """The artifact in a folder, after all checksums were compared; CorruptArtifactError if it is damaged."""
    manifest, folder = read_manifest(folder), Path(folder)
    program = load_fpga_program(folder) if is_fpga_program(folder) else load_program(folder)
    return from_manifest(manifest, program)
