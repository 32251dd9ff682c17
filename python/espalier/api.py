"""What `espalier` offers: the compiler, calibration and profiling joined."""

from __future__ import annotations

import dataclasses
import os

import tvm

from . import build as compiler
from .calibration.calibrate import calibrate
from .codegen.fpga_hls.program import FpgaProgram
from .codegen.load import load_artifact
from .core.artifact import Artifact
from .core.choices import KernelTimes
from .core.records import RecordedTimes
from .measure import local
from .measure.environment import record_environment
from .measure.fpga.profile import profile as profile_fpga
from .passes.analysis import gate_sites
from .targets.resolve import resolve_target

__all__ = ["build", "calibrate", "layer_names", "load"]


def build(
    mod, target="llvm", plan=None, calibration=None, lower: bool = True, records=None, compress: bool = False
) -> Artifact:
    """Compile a module; see `espalier.build.build`. The artifact can profile itself.

    records: the path of tuning records, or another value that answers as `core.choices.KernelTimes` does.
    """
    artifact = compiler.build(mod, target, plan, calibration, lower, _times(records, target), compress)
    return _with_profiler(artifact)


def _with_profiler(artifact: Artifact) -> Artifact:
    profiler = profile_fpga if isinstance(artifact.program, FpgaProgram) else local.profile
    return dataclasses.replace(artifact, profiler=profiler)


def _times(records, target) -> KernelTimes | None:
    """What is known of kernels' times; InvalidInputError if a path is no file of records."""
    if isinstance(records, str | os.PathLike):
        return RecordedTimes.read(records, record_environment(kind=str(resolve_target(target).kind.name)))
    return records


def load(folder) -> Artifact:
    """The artifact that `Artifact.save` wrote; CorruptArtifactError if it is damaged."""
    return _with_profiler(load_artifact(folder))


def layer_names(mod: tvm.IRModule) -> list[str]:
    """The names by which a plan can speak of a module's layers, in program order."""
    return gate_sites.layer_names(compiler.prepare(mod))
