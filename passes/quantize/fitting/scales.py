"""The scale of each channel for given levels, by the squared error that is left.

error_c(s) = sum_i importance_ci * (w_ci - s * level(w_ci / s))^2, level(x) the nearest one to x.
"""

from __future__ import annotations

import numpy as np

from .nearest import nearest_levels
from .problem import Problem

COARSE = 2.0 ** (-np.arange(25) / 4)
"""Fractions of the scale at which a channel's peak is the last level; down to 1/64, for outliers."""
FINE = (1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128)
"""Octaves by which the best is then moved to both sides."""
REFINEMENTS = 3


def search_scales(problem: Problem, levels: np.ndarray, guess: np.ndarray | None = None) -> np.ndarray:
    """The scale of each channel with about the least error, float32 [C] in units of the peaks.

    Never worse than the scale at which the peak is the last level, nor than the guess. First a search over scales, each
    channel by itself, then alternately the least-squares scale of the chosen levels and the nearest levels of that.
    """
    last = levels[-1] if levels[-1] > 0 else -levels[0]
    tried = np.broadcast_to((COARSE / last).astype(np.float32)[:, None], (len(COARSE), len(problem.rows)))
    tried = tried if guess is None else np.concatenate([tried, guess[None]])
    found = np.empty(len(problem.rows), np.float32)
    for part, rows, importance in problem.blocks():
        found[part] = _refined(
            rows, importance, levels, _searched(rows, importance, levels, tried[:, part]), REFINEMENTS
        )
    return found


def refine_scales(problem: Problem, levels: np.ndarray, scale: np.ndarray, times: int) -> np.ndarray:
    """The scales after so many alternations from `scale`, no worse than it."""
    found = np.empty_like(scale)
    for part, rows, importance in problem.blocks():
        found[part] = _refined(rows, importance, levels, scale[part], times)
    return found


def squared_error(problem: Problem, levels: np.ndarray, scale: np.ndarray) -> float:
    """The error of the layer in the weights' own units."""
    total = 0.0
    for part, rows, importance in problem.blocks():
        total += float(_errors(rows, importance, levels, scale[part]) @ problem.peak[part].astype(np.float64) ** 2)
    return total


def least_squares(rows: np.ndarray, importance: np.ndarray | None, chosen: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The best scale of each channel for the chosen level of each weight; `scale` where there is none above zero."""
    weighted = chosen if importance is None else chosen * importance
    above, below = np.einsum("ij,ij->i", weighted, rows), np.einsum("ij,ij->i", weighted, chosen)
    is_useful = (above > 0) & (below > 0)
    return np.where(is_useful, above / np.where(is_useful, below, 1), scale).astype(np.float32)


def _searched(rows: np.ndarray, importance: np.ndarray | None, levels: np.ndarray, tried: np.ndarray) -> np.ndarray:
    best, least = _best_of(rows, importance, levels, tried)
    for octaves in FINE:
        moved = np.stack([best * np.float32(2**step) for step in (octaves, -octaves)])
        other, error = _best_of(rows, importance, levels, moved)
        best, least = np.where(error < least, other, best), np.minimum(error, least)
    return best


def _best_of(rows, importance, levels, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    errors = np.stack([_errors(rows, importance, levels, scale) for scale in scales])
    return scales[errors.argmin(axis=0), np.arange(len(rows))], errors.min(axis=0)


def _errors(rows: np.ndarray, importance: np.ndarray | None, levels: np.ndarray, scale: np.ndarray) -> np.ndarray:
    left = nearest_levels(rows * (1 / scale)[:, None], levels)
    left *= scale[:, None]
    left -= rows
    weighted = left if importance is None else left * importance
    return np.einsum("ij,ij->i", weighted, left)


def _refined(rows, importance, levels, scale: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        scale = least_squares(rows, importance, nearest_levels(rows * (1 / scale)[:, None], levels), scale)
    return scale
