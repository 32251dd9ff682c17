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
    rows = [(d["name"], d["type"], str(d["shape"]), _text(outputs[d["name"]], d)) for d in described]
    saved = (f"saved in {output}",) if output else ()
    return Outcome(
        {"outputs": described, "saved": str(output) if output else None},
        (tables.plain_table(("output", "type", "shape", "+largest values of the first sample"), rows), *saved),
    )


def _describe(name: str, array: np.ndarray) -> dict:
    """Of an output: the largest values of its first sample with their places in it, flattened, and how many are NaN."""
    flat = _first_sample(array).ravel()
    numbers = np.flatnonzero(flat == flat)  # all but NaN
    ascending = numbers[::-1][np.argsort(flat[numbers[::-1]], kind="stable")]  # equal ones from the last place on
    top = [{"index": int(index), "value": flat[index].item()} for index in ascending[::-1][:SHOWN]]
    described = {"name": name, "type": str(array.dtype), "shape": list(array.shape), "top": top}
    return {**described, "nan": len(flat) - len(numbers)}


def _first_sample(array: np.ndarray) -> np.ndarray:
    return array[0] if array.ndim > 1 and len(array) else array


def _text(array: np.ndarray, described: dict) -> str:
    shape = _first_sample(array).shape
    shown = [f"{_place(one['index'], shape)}: {_number(one['value'])}" for one in described["top"]]
    found = [f"{described['nan']} NaN"] if described["nan"] else []
    return ", ".join(shown + found) or tables.NONE


def _place(index: int, shape: tuple[int, ...]) -> str:
    return str([int(one) for one in np.unravel_index(index, shape)]) if len(shape) > 1 else str(index)


def _number(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
