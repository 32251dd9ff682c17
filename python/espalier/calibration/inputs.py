"""The inputs to calibrate on, checked against the model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tvm

from espalier.core.errors import InvalidInputError
from espalier.ir.dataflow import dtype_of, shape_of


def grouped_inputs(mod: tvm.IRModule, inputs, minimum: int = 1) -> dict[str, np.ndarray]:
    """The inputs by parameter name as [G, N, ...]: G groups of the model's batch N.

    inputs: array [S, ...], or name -> array; S is a multiple of N and at least `minimum`.
    Raises InvalidInputError for anything else.
    """
    params = {param.name: param for param in mod["main"].params}
    given = _by_name(inputs, params)
    batches = {name: _batch(name, shape_of(param)) for name, param in params.items()}
    if len(set(batches.values())) > 1:
        raise InvalidInputError(f"calibration: the inputs have the batches {batches}, accepted is one for all")
    for name, array in given.items():
        _check_array(name, array, shape_of(params[name]), dtype_of(params[name]), minimum)
    counts = {name: len(array) for name, array in given.items()}
    if len(set(counts.values())) > 1:
        raise InvalidInputError(f"calibration: the inputs have {counts} samples, accepted is one number for all")
    return {name: array.reshape(-1, batches[name], *array.shape[1:]) for name, array in given.items()}


def _by_name(inputs, params: Mapping) -> dict[str, np.ndarray]:
    if not isinstance(inputs, Mapping):
        if len(params) != 1:
            raise InvalidInputError(f"calibration: got one array, accepted is a dict with {', '.join(params)}")
        inputs = {next(iter(params)): inputs}
    unknown, missing = [name for name in inputs if name not in params], [name for name in params if name not in inputs]
    for names, problem in ((unknown, "unknown"), (missing, "missing")):
        if names:
            raise InvalidInputError(f"calibration, input {names[0]}: {problem}, accepted are {', '.join(params)}")
    return {name: np.asarray(inputs[name]) for name in params}


def _batch(name: str, shape: tuple[int, ...]) -> int:
    if not shape:
        raise InvalidInputError(f"calibration, input {name}: it has no axis of samples, accepted are inputs with one")
    return shape[0]


def _check_array(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: str, minimum: int) -> None:
    where, accepted = f"calibration, input {name}", f"accepted is {dtype} [S, {', '.join(map(str, shape[1:]))}]"
    if array.dtype != dtype or array.ndim != len(shape) or array.shape[1:] != shape[1:]:
        raise InvalidInputError(f"{where}: got {array.dtype} {list(array.shape)}, {accepted}")
    if len(array) < minimum or len(array) % shape[0]:
        multiple = f", a multiple of the model's batch {shape[0]}" if shape[0] > 1 else ""
        raise InvalidInputError(f"{where}: got {len(array)} samples, accepted are at least {minimum}{multiple}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInputError(f"{where}: a value is not finite, accepted are finite numbers")
