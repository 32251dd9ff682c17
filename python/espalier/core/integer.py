"""The integer arithmetic of quantized layers, as plain values (DESIGN.md, contract 3).

A quantized tensor holds uint8 numbers q that stand for scale * (q - zero). Real zero is always the number `zero`. A
quantized layer sums products of uint8 inputs and int8 weights in int32 and brings the sums to its output's scale once:

    RNE(v, m, s) = v * m / 2^s rounded to the nearest integer, ties to even

is exact: v in int32, 0 <= m < 2^24, so that v * m fits int64. With m below 2^24 the product can also be rounded by one
fused multiply-add in float32, wherever |v| is at most 2^24 or the result is clipped anyway.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass

import numpy as np

from .errors import InvalidInputError

MULTIPLIER_BITS = 24
"""Of a multiplier on its own; with a factor of 8 bits beside it (a gate's pi) it has 16."""

ADD_BITS = 20
"""Of the multipliers of two tensors that are added: their sum then fits int32.

A residual of a network that came quantized has MULTIPLIER_BITS, to be rounded as its float32 arithmetic would be: 64
bits, or a float64, hold those sums.
"""

MAX_SHIFT = 62


@dataclass(frozen=True)
class ResidualArithmetic:
    """How a residual joins the sums: t = RNE(clip(t, low, high) * own + (residual - zero) * other, 1, shift).

    zero: the residual's. low, high: to which t is clipped before, None where it is not (a network that was quantized
    elsewhere may round its sums to 8 bits first). own, other: below 2^20, or 2^24 where t is limited to 9 bits; both 1
    and shift 0 when the scales are equal.
    """

    zero: int
    own: int = 1
    other: int = 1
    shift: int = 0
    low: int | None = None
    high: int | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the residual is simply added."""
        return (self.own, self.other, self.shift, self.low, self.high) == (1, 1, 0, None, None)


@dataclass(frozen=True)
class LayerArithmetic:
    """The integers of a quantized layer besides its arrays.

        t = sums of (x - x_zero) * weight + bias
        t = RNE(t, multiplier * pi, shift)      pi where no residual is inside of the gate
        t = with the residual, see ResidualArithmetic
        t = RNE(max(t, 0), pi, pi_shift)        under a gate "output" of a layer with a residual
        y = clip(t + zero, low, high)

    Channels that lose under a gate "output" or "listed" are `zero`; under a gate "branch" their t before the residual
    is 0. Gates "branch" and "output" have a pi, which is 0 for losers; a gate that only selects is "listed", which has
    none, or "branch" with a pi of 0 and 1.

    A list of active inputs asks for x_zero 0. With the role "scale" instead of "multiplier" the layer gives real
    numbers, y = t * scale in float32, and has neither gate nor residual.
    """

    x_zero: int
    shift: int = 0
    zero: int = 0
    low: int = 0
    high: int = 255
    residual: ResidualArithmetic | None = None
    pi_shift: int = 0

    def __post_init__(self):
        for name in ("x_zero", "zero", "low", "high"):
            if not 0 <= getattr(self, name) <= 255:
                raise InvalidInputError(f"{name}: got {getattr(self, name)}, accepted are 0 .. 255")
        if not (0 <= self.shift <= MAX_SHIFT and 0 <= self.pi_shift <= MAX_SHIFT):
            raise InvalidInputError(f"shift: got {self.shift} and {self.pi_shift}, accepted are 0 .. {MAX_SHIFT}")

    @staticmethod
    def from_dict(data: dict | None) -> LayerArithmetic | None:
        """The value behind `dataclasses.asdict`."""
        if data is None:
            return None
        residual = data["residual"] and ResidualArithmetic(**data["residual"])
        return LayerArithmetic(**{**data, "residual": residual})


@dataclass(frozen=True)
class GateArithmetic:
    """The integers of a quantized gate.

    sums = sum over H and W of |x - x_zero|            int32 [N, C_in]
    mean = min(RNE(sums, mean_multiplier, mean_shift), 255)
    saliency = max(mean phi + rho, 0)                  int32 [N, C_out], phi int8, rho int32
    score = sum of the saliencies of a group           int32
    pi = min(RNE(saliency, pi_multiplier, pi_shift), 255) for winners, else 0; uint8
    """

    x_zero: int
    mean_multiplier: int
    mean_shift: int
    pi_multiplier: int = 1
    pi_shift: int = 0


class _Spec:
    """Text form of the specs below."""

    def to_json(self) -> str:
        """The text stored under `ir_names.SPEC`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str):
        """The value behind a text of `to_json`."""
        data = json.loads(str(text))
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})


@dataclass(frozen=True)
class QuantizeSpec(_Spec):
    """x float32 to uint8 of any shape: clip(round(x / scale) + zero, low, high), ties to even; NaN is undefined.

    The quotient is rounded to float32 first, as IEEE 754 division gives it.
    """

    name: str
    scale: float
    zero: int
    low: int = 0
    high: int = 255
    roles: tuple[str, ...] = ("x",)


@dataclass(frozen=True)
class DequantizeSpec(_Spec):
    """x uint8 to float32 of any shape: scale * (x - zero)."""

    name: str
    scale: float
    zero: int
    roles: tuple[str, ...] = ("x",)


@dataclass(frozen=True)
class MeanPoolSpec(_Spec):
    """The mean over H and W, x uint8 [N, C, H, W] to [N, C, 1, 1]:

    clip(RNE(sum of x - x_zero, multiplier, shift) + zero, low, high); the multiplier has the H * W in it.
    """

    name: str
    x_zero: int
    multiplier: int
    shift: int
    zero: int
    low: int = 0
    high: int = 255
    roles: tuple[str, ...] = ("x",)


@dataclass(frozen=True)
class AddSpec(_Spec):
    """Two uint8 tensors of one shape: clip(RNE((x - x_zero) * own + (y - y_zero) * other, 1, shift) + zero, low, high).

    own, other: below 2^20.
    """

    name: str
    x_zero: int
    y_zero: int
    own: int
    other: int
    shift: int
    zero: int
    low: int = 0
    high: int = 255
    roles: tuple[str, ...] = ("x", "y")


def multipliers(scales: np.ndarray, bits: int = MULTIPLIER_BITS) -> tuple[np.ndarray, int]:
    """(multiplier int32 [C], shift): the integers below 2^bits with multiplier / 2^shift nearest to the scales.

    scales: [C], positive or 0, at least one positive; one shift serves them all, so that the largest uses all bits.
    Raises InvalidInputError for scales that are negative, not finite, all zero, or too large for a shift from 0.
    """
    scales = np.asarray(scales, np.float64)
    if not (np.isfinite(scales).all() and (scales >= 0).all() and scales.max(initial=0) > 0):
        raise InvalidInputError("requantization: scales must be finite, not negative and not all zero")
    shift = bits - math.frexp(scales.max())[1]
    if round(math.ldexp(scales.max(), shift)) >= 1 << bits:
        shift -= 1
    if shift < 0:
        raise InvalidInputError(f"requantization: a scale of {scales.max():g} is above the accepted 2^{bits}")
    shift = min(shift, MAX_SHIFT)
    return np.rint(np.ldexp(scales, shift)).astype(np.int32), shift
