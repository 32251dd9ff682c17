"""Arrays in files: the inputs of a network, one batch or many, and labels."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from espalier.core.artifact import TensorSpec
from espalier.core.errors import InvalidInputError
from espalier.core.files import read_arrays, write_atomically

LABELS = "labels"

Batch = dict[str, np.ndarray]


def read_inputs(path: Path, specs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    """Arrays by input name; a file of one array may call it anything. Labels are left out."""
    arrays = read_arrays(path, "inputs")
    if LABELS not in [spec.name for spec in specs]:
        arrays.pop(LABELS, None)
    if len(arrays) == len(specs) == 1:
        return {specs[0].name: next(iter(arrays.values()))}
    if "" in arrays:
        names = ", ".join(spec.name for spec in specs)
        raise InvalidInputError(f"inputs {path}: holds one array, accepted is an .npz file of arrays named {names}")
    return arrays


def batches(arrays: Mapping[str, np.ndarray], specs: Sequence[TensorSpec]) -> list[Batch]:
    """Samples [S, ...] cut into batches of the network's size.

    Raises InvalidInputError unless each array has the type and shape of an input, but for a multiple of its batch.
    """
    counts = {}
    for spec in specs:
        if spec.name not in arrays:
            raise InvalidInputError(f"input {spec.name}: missing, accepted are {', '.join(map(str, specs))}")
        array = arrays[spec.name]
        fits = array.dtype == spec.dtype and array.ndim == len(spec.shape) > 0 and array.shape[1:] == spec.shape[1:]
        if not fits or not len(array) or len(array) % spec.shape[0]:
            raise InvalidInputError(
                f"input {spec.name}: got {array.dtype} {list(array.shape)}, accepted is {spec.dtype} {list(spec.shape)}"
                " or a multiple of it along the first axis"
            )
        counts[spec.name] = len(array) // spec.shape[0]
    if len(set(counts.values())) > 1:
        raise InvalidInputError(f"inputs: different numbers of batches {counts}, accepted is the same for each")
    number = next(iter(counts.values()), 0)
    return [{spec.name: _part(arrays[spec.name], spec.shape[0], index) for spec in specs} for index in range(number)]


def random_batch(specs: Sequence[TensorSpec], seed: int = 0) -> Batch:
    """Standard normal numbers, or zeros where an input is not of a floating-point type."""
    generator = np.random.default_rng(seed)
    return {
        spec.name: generator.standard_normal(spec.shape).astype(spec.dtype)
        if np.issubdtype(np.dtype(spec.dtype), np.floating)
        else np.zeros(spec.shape, spec.dtype)
        for spec in specs
    }


def read_labels(path: Path, needed: bool = True) -> np.ndarray | None:
    """Class numbers from an .npy file, or the array "labels" of an .npz file; None if not `needed` and not there."""
    arrays = read_arrays(path, "labels")
    labels = arrays.get("", arrays.get(LABELS))
    if labels is None and not needed:
        return None
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InvalidInputError(f'labels {path}: accepted is one array of integers, in an .npz file called "{LABELS}"')
    return labels.astype(np.int64)


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def _part(array: np.ndarray, size: int, index: int) -> np.ndarray:
    return np.ascontiguousarray(array[index * size : (index + 1) * size])
