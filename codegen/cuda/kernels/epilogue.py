"""What follows a layer's products, as numbers and arrays of a call: in real numbers, or in integers.

The templates are layer.cuh and requantize.cuh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from espalier.core.integer import LayerArithmetic, ResidualArithmetic
from espalier.core.layers import LayerSpec

from ...integer_bounds import check_sums, rounds_in_float32
from ..layout import whole_groups

FLAGS = {"bias": 1, "residual": 2, "pi": 4, "winners": 8, "active": 16, "outside": 64, "sums": 128}
FILL_RESTING = 32
"""`Given` of templates/layer_call.hpp."""
GATES = {"none": 0, "listed": 0, "branch": 1, "output": 2}
ACTIVATIONS = {"none": 0, "relu": 1, "clip": 2}

REAL, FUSED, WIDE = "real", "fused", "wide"
"""How the sums of a quantized layer end: as real numbers, or rescaled by a multiply-add in float32, or in 64 bits."""


def flags_of(given: Sequence[str], fill_resting: bool) -> int:
    """Which tensors a call has. given: their roles. fill_resting: whether it writes what is not computed, too."""
    return sum(FLAGS[role] for role in given if role in FLAGS) + (FILL_RESTING if fill_resting else 0)


def real_end(spec: LayerSpec, channels: int, y_dtype: str, residual_dtype: str = "float32") -> list[int | float]:
    """The numbers of `Epilogue`. channels: of y as stored."""
    return [
        *(channels, GATES[spec.gate], ACTIVATIONS[spec.activation.kind]),
        *(int(residual_dtype == "float16"), int(y_dtype == "float16")),
        *(float(spec.activation.low), float(spec.activation.high)),
    ]


def byte_end(spec: LayerSpec, channels: int, pi_channels: int, rescaling: str) -> list[int]:
    """The numbers of `ByteEpilogue`. channels: of y as stored; pi_channels: of pi, which is not filled up."""
    one: LayerArithmetic = spec.integer
    residual = one.residual or ResidualArithmetic(0)
    limits = [0, 0, 0] if residual.low is None else [1, residual.low, residual.high]
    lost = one.zero if spec.gate == "listed" else min(max(one.zero, one.low), one.high)
    return [
        *(channels, pi_channels, GATES[spec.gate], int(rescaling == REAL), int(rescaling == FUSED)),
        *(one.shift, one.zero, one.low, one.high, lost),
        *(residual.zero, residual.own, residual.other, residual.shift, *limits, one.pi_shift),
    ]


def rescaling_of(spec: LayerSpec, constants: Mapping[str, np.ndarray]) -> str:
    """How the sums of a quantized layer end; InvalidModelError if they may exceed 32 bits."""
    check_sums(spec, constants)
    if "scale" in spec.roles:
        return REAL
    return FUSED if rounds_in_float32(spec, constants) else WIDE


def pack_end(
    spec: LayerSpec, constants: Mapping[str, np.ndarray], rescaling: str, folds_zero: bool = True
) -> dict[str, np.ndarray]:
    """A quantized layer's bias (int32) and factor, up to whole groups of channels.

    folds_zero: whether the kernel sums x as it is, so that the bias has to make up for its zero point.
    """
    weight = constants["weight"].astype(np.int64).reshape(len(constants["weight"]), -1)
    bias = constants.get("bias", np.zeros(len(weight), np.int32)).astype(np.int64)
    bias = bias - (spec.integer.x_zero * weight.sum(1) if folds_zero else 0)
    factor = constants["scale" if rescaling == REAL else "multiplier"]
    if rescaling == FUSED:
        factor = np.ldexp(factor.astype(np.float32), -spec.integer.shift)
    bias = bias.astype(np.uint32).view(np.int32)  # sums are those of 32 bits, whatever they start with
    return {"bias": _filled_up(bias), "factor": _filled_up(factor)}


def pack_vector(vector: np.ndarray) -> np.ndarray:
    """[C], float32, with zeros up to a whole group."""
    return _filled_up(vector.astype(np.float32))


def _filled_up(vector: np.ndarray) -> np.ndarray:
    return np.pad(vector, (0, whole_groups(len(vector)) - len(vector)))
