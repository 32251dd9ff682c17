"""`espalier compile`: an ONNX file, or a bundled network, to a saved artifact."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.artifact import MANIFEST, Artifact, Program
from espalier.core.errors import InvalidInputError
from espalier.core.plan import Plan
from espalier.report import tables

from . import models
from .output import Outcome, steps

if TYPE_CHECKING:
    from espalier.pass_context import PassContext
    from espalier.tuning.align_density import AlignedLayer

MODEL = "model.onnx"


@dataclass(frozen=True)
class CompileOptions:
    """Besides the plan.

    keep_model: put a copy of the model into the artifact's folder, for `espalier bench` to give to other libraries.
    compress: entropy-code the weights, and show what they take before and after.
    align_density: keep as many channels as take no more time.
    """

    keep_model: bool = True
    compress: bool = False
    align_density: bool = False


def run(
    model: Path, output: Path, target: str, options: models.PlanOptions, shapes: Sequence[str], how: CompileOptions
) -> Outcome:
    """Compile a model and save it."""
    check_output_folder(output)
    with steps(5) as bar:
        bar.begin("reading the model")
        context = options.context()
        from espalier import api
        from espalier.targets.resolve import resolve_target

        resolve_target(target)
        mod = models.read_model(model, shapes)
        plan, aligned = _aligned(mod, target, context) if how.align_density else (context.plan(), ())
        calibration = models.calibrate(mod, context, bar, plan=plan)
        bar.begin("compiling")
        start = time.perf_counter()
        known = context.records()
        artifact = api.build(mod, target, plan, calibration, records=known, compress=how.compress)
        seconds = time.perf_counter() - start
        bar.begin("saving")
        (with_model(artifact, models.model_file(model)) if how.keep_model else artifact).save(output)
    return _outcome(artifact, model, output, seconds, aligned)


def _aligned(mod, target: str, context: PassContext) -> tuple[Plan, tuple[AlignedLayer, ...]]:
    from espalier.tuning.align_density import align_density

    calibration = context.calibration()
    return align_density(mod, target, context.plan(), fitted=calibration.gates if calibration else ())


def list_layers(model: Path, shapes: Sequence[str]) -> Outcome:
    """The layers of a model under the names by which a plan can speak of them."""
    mod = models.read_model(model, shapes)
    from espalier.build import prepare
    from espalier.passes.analysis.layer_table import layer_table

    layers = layer_table(prepare(mod))
    table = tables.plain_table(
        ("layer", "operator", ">channels in", ">channels out", ">MACs"),
        [(one.name, one.operator, one.input_channels, one.channels, tables.quantity(one.macs_dense)) for one in layers],
    )
    return Outcome({"layers": [dataclasses.asdict(one) for one in layers]}, (table,))


def check_output_folder(folder: Path) -> None:
    """Raise InvalidInputError if an artifact could not be saved there, before time is spent on making it."""
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(f"{folder}: is a file, accepted is a new or empty folder")
    if folder.is_dir() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
        raise InvalidInputError(f"{folder}: exists and is no saved artifact, accepted is a new or empty folder")
    nearest = next(parent for parent in folder.absolute().parents if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InvalidInputError(f"{folder}: cannot be written, {nearest} is no folder that may be written to")


@dataclass(frozen=True)
class _WithModel:
    """A program that is saved together with the model it was compiled from."""

    program: Program
    model: bytes

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return self.program.run(inputs)

    def save(self, folder: Path) -> None:
        self.program.save(folder)
        (folder / MODEL).write_bytes(self.model)


def with_model(artifact: Artifact, model: Path) -> Artifact:
    """The artifact, to be saved with a copy of the model in one file."""
    import onnx

    try:
        content = onnx.load(str(model)).SerializeToString()
    except Exception:  # protobuf writes no message over two gigabytes, and says so in several ways
        raise InvalidInputError(f"model {model}: too large for a copy, use --no-keep-model") from None
    return dataclasses.replace(artifact, program=_WithModel(artifact.program, content))


def _instead(one: AlignedLayer) -> str:
    if one.aligned == one.channels:
        return f"all {one.channels} and no gate, instead of {one.kept}"
    return f"{one.aligned} instead of {one.kept} of {one.channels}"


def _outcome(
    artifact: Artifact, model: Path, output: Path, seconds: float, aligned: Sequence[AlignedLayer] = ()
) -> Outcome:
    size = artifact.program.sizes()
    macs, dense = sum(one.macs for one in artifact.layers), sum(one.macs_dense for one in artifact.layers)
    remarks = tuple(f"  {remark}" for remark in artifact.report)
    longer = tuple(f"  {one.name}: {_instead(one)}" for one in aligned)
    return Outcome(
        {
            "artifact": str(output),
            "target": dict(artifact.target),
            "plan": artifact.plan.to_dict(),
            "compile_s": seconds,
            "macs": macs,
            "macs_dense": dense,
            "layers": [dataclasses.asdict(one) for one in artifact.layers],
            "report": list(artifact.report),
            **({"aligned": [dataclasses.asdict(one) for one in aligned]} if aligned else {}),
            **({"size": tables.size_data(size)} if size else {}),
        },
        (
            tables.layer_table(artifact.layers),
            *((tables.size_table(size), tables.size_sentence(size), "") if size else ()),
            *(("Channels at no predicted cost:", *longer, "") if longer else ()),
            *(("Report:", *remarks, "") if remarks else ()),
            f"{model.name}: {tables.quantity(macs)} of {tables.quantity(dense)} MACs are done"
            f" ({tables.percent(macs, dense)}); built in {seconds:.1f} s, saved in {output}",
        ),
    )
