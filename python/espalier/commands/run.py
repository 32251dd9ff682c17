"""`espalier run`: the outputs of a saved artifact."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from espalier.report import tables

from . import arrays
from .output import Outcome

SHOWN = 5


def run(folder: Path, inputs: Path, output: Path | None, threads: int) -> Outcome:
    """Run on one batch, show the outputs, and save them if a file is named."""
    from espalier import api
    from espalier.measure.threads import set_threads

    artifact = api.load(folder)
    set_threads(threads)
    results = artifact.program.run(artifact.bind(arrays.read_inputs(inputs, artifact.inputs)))
    outputs = {spec.name: np.asarray(result) for spec, result in zip(artifact.outputs, results, strict=True)}
    if output:
        arrays.write_npz(output, outputs)
    described = [_describe(name, array) for name, array in outputs.items()]
    rows = [(d["name"], d["type"], str(d["shape"]), _text(d["top"])) for d in described]
    saved = (f"saved in {output}",) if output else ()
    return Outcome(
        {"outputs": described, "saved": str(output) if output else None},
        (tables.plain_table(("output", "type", "shape", "largest values of the first sample"), rows), *saved),
    )


def _describe(name: str, array: np.ndarray) -> dict:
    first = array[0] if array.ndim > 1 else array
    flat = np.atleast_1d(first).ravel()
    largest = np.argsort(-flat, kind="stable")[:SHOWN]
    top = [{"index": int(index), "value": flat[index].item()} for index in largest]
    return {"name": name, "type": str(array.dtype), "shape": list(array.shape), "top": top}


def _text(top: list[dict]) -> str:
    return ", ".join(f"{one['index']}: {one['value']:.4g}" for one in top)
