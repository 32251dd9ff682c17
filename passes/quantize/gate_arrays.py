"""The integer arrays and numbers of a channel gate, and what its pi does in the layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from espalier.core.errors import InvalidPlanError
from espalier.core.integer import MULTIPLIER_BITS, GateArithmetic, multipliers
from espalier.core.layers import ChannelGateSpec, LayerSpec

from .scales import Numbers

MOST = 255
PI_BITS = 16
"""Of a multiplier that a gate's pi is multiplied with."""


@dataclass(frozen=True)
class Boost:
    """What a step of a gate's pi stands for, and where the layer multiplies with pi.

    scale: of a step; most: the largest pi, as a real number.
    shift: of the product that comes after a residual, of whose result the scale is then 2^-shift; None where pi is a
        factor of the requantization.
    """

    scale: float
    most: float
    shift: int | None = None

    @property
    def inside(self) -> float:
        """What the requantization's multiplier has to make up for: the scale of the pi that it is multiplied with."""
        return self.scale if self.shift is None else 1.0

    @property
    def multiplier_bits(self) -> int:
        """Of the requantization's multiplier."""
        return PI_BITS if self.shift is None else MULTIPLIER_BITS


NO_BOOST = Boost(1.0, 1.0, 0)
"""Of a layer that has no pi."""


def gate_arrays(
    spec: ChannelGateSpec, phi: np.ndarray, rho: np.ndarray, x: Numbers, pixels: int, most_mean: float, pi_scale: float
) -> tuple[GateArithmetic, np.ndarray, np.ndarray]:
    """(arithmetic, phi int8 [C_in, C_out], rho int32 [C_out]).

    most_mean: the largest ss(x) that was seen; pi_scale: what a step of pi stands for.
    Raises InvalidPlanError if int32 may not hold the saliencies or their sums over a group.
    """
    mean_scale = (most_mean or x.scale * MOST) / MOST
    phi_scale = (float(np.abs(phi).max()) or 1.0) / 127
    mean_multiplier, mean_shift = _multiplier(x.scale / (pixels * mean_scale))
    pi_multiplier, pi_shift = _multiplier(mean_scale * phi_scale / pi_scale)
    integers = np.rint(phi / phi_scale).astype(np.int8)
    offsets = np.rint(rho.astype(np.float64) / (mean_scale * phi_scale))
    _check_sums(spec, integers, offsets)
    arithmetic = GateArithmetic(x.zero, mean_multiplier, mean_shift, pi_multiplier, pi_shift)
    return arithmetic, integers, offsets.astype(np.int32)


def boost_of(gate: ChannelGateSpec, layer: LayerSpec, most: float) -> Boost | None:
    """What pi does in the layer; None if the list of winners says it all. most: the largest saliency seen."""
    if gate.mode == "select":
        return Boost(1.0, 1.0) if layer.gate == "branch" else None
    if layer.gate == "output" and "residual" in layer.roles:
        shift = max(0, math.floor(math.log2(MOST / most))) if most > 0 else 0
        return Boost(2.0**-shift, MOST * 2.0**-shift, shift)
    return Boost((most or 1.0) / MOST, most or 1.0)


def _multiplier(scale: float) -> tuple[int, int]:
    numbers, shift = multipliers(np.array([scale]))
    return int(numbers[0]), shift


def _check_sums(spec: ChannelGateSpec, phi: np.ndarray, rho: np.ndarray) -> None:
    worst = (MOST * np.abs(phi.astype(np.float64)).sum(0) + np.abs(rho)).reshape(-1, spec.granularity).sum(1).max()
    if worst >= 2**31:
        raise InvalidPlanError(
            f"gate of layer {spec.name!r}: the saliencies of a group may reach {worst:.3g}, accepted are sums below "
            'int32\'s 2^31; keep the layer in float32 ({"weights": "float32"} in the plan)'
        )
