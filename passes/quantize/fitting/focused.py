"""Focused quantization: shifts around the means of two components of the weights.

Source: Zhao et al., Focused Quantization for Sparse CNNs, NeurIPS 2019, section 3.2; written from the paper.

What the paper leaves open, and what is done here:
- Means and deviations are fitted in floating point; integer hardware needs levels mean + step * s * 2^e that are
  integers. The grid, that is the weight that an integer 1 stands for, and the bias of the shifts are searched together:
  of those whose levels all fit the kernels' integers, the one with the least squared error is taken. Then the integer
  means and steps move by ones as long as that lowers the error: by up to 10 % on networks pruned to a half or a fifth.
- Components are fitted to the weights for which they are the likelier one. A code stands for a level, whichever
  component it came from, so in the end each weight takes the nearest level of all. With a random generator it is as in
  the paper: a weight's component is drawn from the posterior, and the weight takes a level of that, or 0.
- A layer has one table of levels, each channel a scale, searched as for other formats. Channels are divided by their
  root mean square before the mixture is fitted: without it errors are 1.05 to 1.8 times as great where half of the
  weights are pruned, and 0.99 to 1.13 times where four fifths are.
- The separation test compares distributions, not errors. Components of one centre and different deviations pass it,
  too; of a layer that passes, the better of both is kept, unless components are drawn. A layer that is not pruned does
  not pass as a rule, though at five bits and more its error would be about half of the plain shift's: the threshold is
  the paper's, whose layers are pruned first.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np

from espalier.core.formats import Focused, shift_levels
from espalier.core.quantized_weights import QuantizedWeights

from .mixture import Mixture, fit_mixture, group_moments
from .nearest import nearest_codes
from .problem import Problem
from .scales import REFINEMENTS, least_squares, search_scales, squared_error

SEPARATION = 2.0
"""The least Wasserstein separation of components that are worth a bit of the code (the paper's sweep, section 4.1)."""
BIASES = range(-2, 4)
"""The farthest shift from a mean is the deviation times 2^bias; beyond three bits no weight is left."""
GRIDS = 2.0 ** (np.arange(16) / 8)
"""The grid, as a multiple of the finest whose levels fit."""


@dataclass(frozen=True)
class Grid:
    """Integer levels mean_c + step_c * s * 2^e for e below `exponents`, and what an integer 1 stands for."""

    means: tuple[int, int]
    steps: tuple[int, int]
    exponents: int
    unit: float

    def component_levels(self) -> list[np.ndarray]:
        """The levels of each component, and 0."""
        shifts = shift_levels(self.exponents)
        return [np.union1d(mean + step * shifts, 0) for mean, step in zip(self.means, self.steps)]

    @property
    def levels(self) -> np.ndarray:
        """All levels, ascending."""
        return np.union1d(*self.component_levels())

    @property
    def reach(self) -> int:
        """The greatest magnitude of a level."""
        return max(abs(mean) + step * 2 ** (self.exponents - 1) for mean, step in self.components)

    def neighbours(self) -> list[Grid]:
        """The grids with one mean or one step greater or less by 1; steps stay above 0."""
        found = []
        for name, values in (("means", self.means), ("steps", self.steps)):
            for i, by in itertools.product((0, 1), (-1, 1)):
                other = tuple(value + by * (j == i) for j, value in enumerate(values))
                found.append(dataclasses.replace(self, **{name: other}))
        return [one for one in found if min(one.steps) > 0]

    @property
    def components(self) -> tuple[tuple[int, int], ...]:
        """As in QuantizedWeights."""
        return tuple(zip(self.means, self.steps))


def fit_focused(
    problem: Problem, fmt: Focused, width_bits: int, random: np.random.Generator | None = None
) -> QuantizedWeights:
    """Recentralised shift where the components stand apart and it leaves less error, elsewhere a plain shift."""
    shift = shift_levels(min(2 ** (fmt.bits - 2), width_bits - 1))
    spread = _spread(problem)
    relative = problem.rows / spread[:, None]
    nonzero = relative[relative != 0]
    mixture = fit_mixture(nonzero)
    if mixture is None or mixture.separation(nonzero.var(dtype=np.float64)) < SEPARATION:
        return problem.quantized(fmt, shift, problem.absolute(search_scales(problem, shift)))
    posterior = mixture.posterior(relative)
    is_second = posterior > (0.5 if random is None else random.random(posterior.shape))
    grid = _search_grid(problem, relative, spread, is_second, mixture, fmt, width_bits)
    guess = spread * np.float32(grid.unit)
    if random is not None:
        return _in_components(problem, fmt, grid, is_second, guess)
    choices = [
        (grid.levels, search_scales(problem, grid.levels, guess), grid.components),
        (shift, search_scales(problem, shift), ()),
    ]
    levels, scale, components = min(choices, key=lambda one: squared_error(problem, *one[:2]))
    return dataclasses.replace(problem.quantized(fmt, levels, problem.absolute(scale)), components=components)


def _spread(problem: Problem) -> np.ndarray:
    """The root mean square of each channel's weights that are not zero, float32 [C]; 1 where there are none."""
    count = np.count_nonzero(problem.rows, axis=1)
    squares = np.einsum("ij,ij->i", problem.rows, problem.rows)
    return np.where(count > 0, np.sqrt(squares / np.maximum(count, 1)), 1).astype(np.float32)


def _search_grid(problem, relative, spread, is_second, mixture: Mixture, fmt: Focused, width_bits: int) -> Grid:
    """The grid of the least error over groups of neighbouring weights, among those whose levels fit."""
    counted = (spread * problem.peak).astype(np.float64)[:, None] ** 2
    counted = np.broadcast_to(counted if problem.importance is None else counted * problem.importance, relative.shape)
    groups = []
    for chosen in (~is_second & (relative != 0), is_second & (relative != 0)):
        order = np.argsort(relative[chosen])
        groups.append(group_moments(relative[chosen][order].astype(np.float64), counted[chosen][order]))
    limit = 2 ** (width_bits - 1) - 1
    grids = [grid for bias in BIASES for grid in _grids(mixture, fmt, bias, limit)]
    return _settled(min(grids, key=lambda grid: _group_error(grid, groups)), groups, limit)


def _grids(mixture: Mixture, fmt: Focused, bias: int, limit: int) -> list[Grid]:
    """Integer means and steps for a bias, no level of a grid beyond the limit."""
    wanted = 2 ** (fmt.bits - 3)
    far = mixture.deviations * 2.0**bias
    finest = float((np.abs(mixture.means) + far).max()) / limit
    found = []
    for exponents in range(wanted, wanted // 2, -1):
        for unit in finest * GRIDS:
            means = np.rint(mixture.means / unit).astype(int)
            steps = np.maximum(np.rint(far / 2 ** (exponents - 1) / unit).astype(int), 1)
            grid = Grid(tuple(means.tolist()), tuple(steps.tolist()), exponents, unit)
            if grid.reach <= limit:
                found.append(grid)
    return found


def _settled(grid: Grid, groups: list[tuple[np.ndarray, ...]], limit: int) -> Grid:
    """The grid after the best moves by 1 of a mean or a step, as long as one lowers the error."""
    error = _group_error(grid, groups)
    while True:
        moved = [one for one in grid.neighbours() if one.reach <= limit]
        errors = [_group_error(one, groups) for one in moved]
        if min(errors, default=error) >= error:
            return grid
        error = min(errors)
        grid = moved[errors.index(error)]


def _group_error(grid: Grid, groups: list[tuple[np.ndarray, ...]]) -> float:
    error = 0.0
    for levels, (total, means, squares) in zip(grid.component_levels(), groups):
        level = levels[np.searchsorted((levels[:-1] + levels[1:]) / 2, means / grid.unit, side="right")] * grid.unit
        error += float(total @ (squares - 2 * level * means + level**2))
    return error


def _in_components(problem: Problem, fmt: Focused, grid: Grid, is_second: np.ndarray, scale: np.ndarray):
    """Codes and refined scales where each weight stays in the component that was drawn for it."""
    for _ in range(REFINEMENTS):
        chosen = grid.levels.astype(np.float32)[_codes(problem.rows / scale[:, None], grid, is_second)]
        scale = least_squares(problem.rows, problem.importance, chosen, scale)
    absolute = problem.absolute(scale)
    codes = _codes(problem.weights / absolute[:, None], grid, is_second).reshape(problem.shape)
    return QuantizedWeights(fmt, codes, grid.levels.astype(np.int8), absolute, components=grid.components)


def _codes(x: np.ndarray, grid: Grid, is_second: np.ndarray) -> np.ndarray:
    """The nearest level of each x's component, as a code of all levels."""
    first, second = (
        np.searchsorted(grid.levels, levels).astype(np.uint8)[nearest_codes(x.copy(), levels)]
        for levels in grid.component_levels()
    )
    return np.where(is_second, second, first)
