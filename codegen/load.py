"""From a folder that `Artifact.save` wrote back to an artifact."""

from __future__ import annotations

from pathlib import Path

from espalier.core.artifact import Artifact, from_manifest, read_manifest
from espalier.targets.boards import KIND as FPGA

from .cpu.program import load_program as load_cpu
from .cuda.program import load_program as load_cuda
from .fpga_hls.program import load_fpga_program as load_fpga

LOADERS = {"llvm": load_cpu, "cuda": load_cuda, FPGA: load_fpga}
"""By the target's kind."""


def load_artifact(folder) -> Artifact:
    """The artifact in a folder, after all checksums were compared; CorruptArtifactError if it is damaged."""
    manifest = read_manifest(folder)
    load_program = LOADERS[manifest["target"]["kind"]]
    return from_manifest(manifest, load_program(Path(folder)))
