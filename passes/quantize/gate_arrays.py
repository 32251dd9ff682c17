"""The integer arrays and numbers of a channel gate."""

from __future__ import annotations

import math

import numpy as np

from espalier.core.errors import InvalidPlanError
from espalier.core.integer import GateArithmetic, multipliers
from espalier.core.layers import ChannelGateSpec

from .scales import Numbers

MOST = 255


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


def power_of_two_scale(largest: float) -> int:
    """The greatest shift with MOST / 2^shift >= largest, at least 0."""
    return max(0, math.floor(math.log2(MOST / largest))) if largest > 0 else 0


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
