"""What `espalier` offers: the compiler, calibration and profiling joined."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tvm

from . import build as compiler
from .calibration.calibrate import calibrate
from .codegen.cpu.program import load_program
from .core.artifact import Artifact, from_manifest, read_manifest
from .measure.local import profile
from .passes.analysis import gate_sites

__all__ = ["build", "calibrate", "layer_names", "load"]


def build(mod, target="llvm", plan=None, calibration=None, lower: bool = True) -> Artifact:
    """Compile a module; see `espalier.build.build`. The artifact can profile itself."""
    artifact = compiler.build(mod, target, plan, calibration, lower)
    return dataclasses.replace(artifact, profiler=profile)


def load(folder) -> Artifact:
    """The artifact that `Artifact.save` wrote; CorruptArtifactError if it is damaged."""
    manifest = read_manifest(folder)
    artifact = from_manifest(manifest, load_program(Path(folder)))
    return dataclasses.replace(artifact, profiler=profile)


def layer_names(mod: tvm.IRModule) -> list[str]:
    """The names by which a plan can speak of a module's layers, in program order."""
    return gate_sites.layer_names(compiler.prepare(mod))
