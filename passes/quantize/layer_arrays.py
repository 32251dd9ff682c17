"""The integer arrays of a layer: weights in their format, bias, and what brings the sums to the output's scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from espalier.core.errors import EspalierError, InvalidPlanError
from espalier.core.formats import Format
from espalier.core.integer import MULTIPLIER_BITS, multipliers
from espalier.core.quantized_weights import QuantizedWeights

from .fitting.fit import fit
from .scales import Numbers

MOST = 255
"""The greatest uint8 number: kernels may add up products with the numbers themselves, before the zero point."""

SILENT_STEP, SILENT_PART = 2**-2, 2**-20
"""Weights of a channel that can move its output by less than so much of a step, or of its bias, are left out."""

SILENT_SUM = 2**24
"""What the largest bias counts where there is nothing else to count in."""


@dataclass(frozen=True)
class LayerArrays:
    """weight int8 [C_out, ...]; bias int32 [C_out], in steps of scale; scale float64 [C_out], that of the sums.

    left_out: how many channels have lost their weights, which would hardly have moved them.
    """

    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    left_out: int = 0

    def multiplier(self, out_scale: float, bits: int = MULTIPLIER_BITS) -> tuple[np.ndarray, int]:
        """(int32 [C_out], shift) that bring the sums to steps of `out_scale`."""
        return multipliers(self.scale / out_scale, bits)


def layer_arrays(
    name: str, weight: np.ndarray | QuantizedWeights, bias, fmt: Format, x: Numbers, out_scale: float | None
) -> LayerArrays:
    """Fit the weight to its format and count the bias in steps of the sums.

    weight: float32, or codes that a training settled on, which are taken as they are. bias: float32 [C_out] or None.
    out_scale: of the output in integers, None where it is float32.
    Raises InvalidPlanError if the format cannot have the weights, or if int32 may not hold the sums.
    """
    fitted = weight if isinstance(weight, QuantizedWeights) else _fitted(name, weight, fmt)
    integers, scale = fitted.integers, fitted.scale.astype(np.float64) * x.scale
    bias = np.zeros(len(scale)) if bias is None else bias.astype(np.float64)
    left_out = 0
    if 0 in fitted.table:
        integers, scale = _without_silent(integers, scale, bias, out_scale or 0.0)
        left_out = int((_reach(integers) < _reach(fitted.integers)).sum())
    counted = np.rint(bias / scale)
    if np.abs(counted).max(initial=0) >= 2**31:
        raise InvalidPlanError(_too_large(name, np.abs(counted).max()))
    arrays = LayerArrays(integers, counted.astype(np.int32), scale, left_out)
    check_sums(name, arrays, x.zero)
    return arrays


def _fitted(name: str, weight: np.ndarray, fmt: Format) -> QuantizedWeights:
    try:
        return fit(weight, fmt, mask=weight != 0 if fmt.has_zero else None)  # zeros were pruned, and stay
    except EspalierError as error:
        raise InvalidPlanError(f"layer {name!r}, weights {fmt}: {error}") from None


def _without_silent(integers: np.ndarray, scale: np.ndarray, bias: np.ndarray, out_scale: float):
    """Weights that hardly move their channel become 0, and its scale the largest of the others.

    Such a channel of a trained network is its bias alone. In steps of its weights the bias may be beyond int32, and
    its multiplier beyond the bits that all channels share.
    """
    is_silent = _reach(integers) * scale < np.maximum(SILENT_STEP * out_scale, SILENT_PART * np.abs(bias))
    shape = (-1, *[1] * (integers.ndim - 1))
    others = scale[~is_silent].max(initial=0) or out_scale or np.abs(bias).max() / SILENT_SUM
    return np.where(is_silent.reshape(shape), np.int8(0), integers), np.where(is_silent, others, scale)


def _reach(integers: np.ndarray) -> np.ndarray:
    """float64 [C_out]: how far the products of each channel may add up."""
    return MOST * np.abs(integers.astype(np.float64)).reshape(len(integers), -1).sum(1)


def check_sums(name: str, arrays: LayerArrays, x_zero: int) -> None:
    """Raise InvalidPlanError unless int32 holds the sums, in any order, with or without the zero point in the bias."""
    shift = x_zero * np.abs(arrays.weight.reshape(len(arrays.weight), -1).sum(1, dtype=np.int64))
    worst = (_reach(arrays.weight) + np.abs(arrays.bias.astype(np.float64)) + shift).max()
    if worst >= 2**31:
        raise InvalidPlanError(_too_large(name, worst))


def _too_large(name: str, worst: float) -> str:
    return (
        f"layer {name!r}: its sums may reach {worst:.3g}, accepted are sums below 2^31, which int32 holds; "
        'keep the layer in float32 ({"weights": "float32"} in the plan)'
    )
