"""Constant linear transforms of vectors, written out with what their rows and columns share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm.script.ir_builder import tirx as T

from .emit import spread


def transformed(matrix: np.ndarray, values: Sequence[Sequence], lanes: int) -> list:
    """The vectors of `matrix values matrix^T`, row by row, for a square of vectors."""
    columns = [_times(matrix, column, lanes) for column in zip(*values)]
    return [value for row in zip(*columns) for value in _times(matrix, row, lanes)]


def _times(matrix: np.ndarray, values: Sequence, lanes: int) -> list:
    """matrix times a column of vectors. Transforms at opposite points are even sums plus and minus odd sums."""
    matrix, values = _fold_opposite_columns(matrix, values)
    results: list = []
    while len(results) < len(matrix):
        row, below = matrix[len(results)], matrix[len(results) + 1 :][:1]
        even = np.arange(len(row)) % 2 == 0
        if len(below) and np.count_nonzero(row) > 2 and np.array_equal(below[0], np.where(even, row, -row)):
            evens, odds = (T.bind(_sum(np.where(half, row, 0), values, lanes)) for half in (even, ~even))
            results += [T.bind(evens + odds), T.bind(evens - odds)]
        else:
            results.append(T.bind(_sum(row, values, lanes)))
    return results


def _fold_opposite_columns(matrix: np.ndarray, values: Sequence) -> tuple[np.ndarray, list]:
    """Where two columns differ in the sign of odd rows: even rows take the values' sum, odd rows their difference."""
    matrix, values = matrix.copy(), list(values)
    even = np.arange(len(matrix)) % 2 == 0
    for j in range(matrix.shape[1] - 1):
        left, right = matrix[:, j].copy(), matrix[:, j + 1]
        if np.count_nonzero(left) > 1 and np.array_equal(right, np.where(even, left, -left)):
            values[j : j + 2] = T.bind(values[j] + values[j + 1]), T.bind(values[j] - values[j + 1])
            matrix[:, j], matrix[:, j + 1] = np.where(even, left, 0), np.where(even, 0, left)
    return matrix, values


def _sum(coefficients: np.ndarray, values: Sequence, lanes: int):
    """The weighted sum, terms of coefficient one first, so that the others become fused multiply-adds."""
    terms = sorted((abs(c) != 1, c < 0, j) for j, c in enumerate(coefficients) if c)
    total = None
    for _, _, j in terms:
        coefficient = float(coefficients[j])
        size = values[j] if abs(coefficient) == 1 else values[j] * spread(T.float32(abs(coefficient)), lanes)
        if total is None:
            total = size if coefficient > 0 else -size
        else:
            total = total + size if coefficient > 0 else total - size
    return total
