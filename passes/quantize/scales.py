"""Scale and zero point of every integer tensor, from the observed ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tvm import relax

from espalier.core.calibration import Range
from espalier.core.errors import InvalidPlanError
from espalier.ir.dataflow import argument

from .integer_tensors import IntegerTensors

MOST_SHARED = 2.0
"""A tensor may get a scale up to so many times its own, to be added to another without a multiplication."""

ANY_SCALE = np.float32(2**-8)
"""Of a tensor that holds nothing but zeros."""


@dataclass(frozen=True)
class Numbers:
    """How a tensor of reals becomes uint8: q = round(x / scale) + zero, in 0 .. top."""

    scale: float
    zero: int
    top: int

    def of(self, real: float) -> int:
        """The number that stands for a real, or the end that is nearest to it."""
        return int(np.clip(np.rint(real / self.scale) + self.zero, 0, self.top))


def numbers_of(found: IntegerTensors, names: Mapping[relax.Var, str], ranges: Mapping[str, Range]) -> dict:
    """The numbers of each tensor that `found` has in integers, by variable.

    Tensors that meet in a residual add get one scale, so that they are simply added, unless one would lose too much.
    Raises InvalidPlanError if a range is missing.
    """
    widths: dict[relax.Var, tuple[float, float, int]] = {}
    for root, members in found.members().items():
        seen = [_range_of(names[var], ranges) for var in members]
        low, high = min(0.0, *(one.low for one in seen)), max(0.0, *(one.high for one in seen))
        widths[root] = low, high, 2 ** found.bits(root) - 1
    steps = {root: (high - low) / top for root, (low, high, top) in widths.items()}
    groups = _groups(found, steps)
    scale = {root: max(steps[one] for one in group) for group in groups for root in group}
    numbers = {root: _numbers(scale[root], *width) for root, width in widths.items()}
    return {var: numbers[root] for root, members in found.members().items() for var in members}


def _range_of(name: str, ranges: Mapping[str, Range]) -> Range:
    if name not in ranges:
        known = f"has {len(ranges)} others" if ranges else "has none"
        raise InvalidPlanError(
            f"plan: quantized layers need the range of the activations {name!r} and the calibration {known}; give "
            "inputs to calibrate on (calibration=espalier.calibrate(mod, inputs, plan), "
            'flag "espalier.calibration", --calibration)'
        )
    return ranges[name]


def _numbers(scale: float, low: float, high: float, top: int) -> Numbers:
    scale = np.float32(scale) or ANY_SCALE
    return Numbers(float(scale), int(np.clip(np.rint(-low / scale), 0, top)), top)


def _groups(found: IntegerTensors, steps: Mapping[relax.Var, float]) -> list[list[relax.Var]]:
    """Tensors that share a scale: the two sides of each residual add, as long as none is far below the largest."""
    group_of = {root: [root] for root in steps}
    for var in found.flow.values:
        layer = found.flow.layer_of(var)
        residual = layer and layer[1].name in found.layers and argument(layer[1], layer[2], "residual")
        if residual is None or not layer or layer[1].name not in found.layers:
            continue
        one, other = group_of[found.root(var)], group_of[found.root(residual)]
        sizes = [steps[root] for root in (*one, *other)]
        if one is not other and max(sizes) <= MOST_SHARED * min(sizes):
            one.extend(other)
            group_of.update(dict.fromkeys(other, one))
    return list({id(group): group for group in group_of.values()}.values())
