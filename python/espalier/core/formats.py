"""Number formats: what the codes of a weight or an activation mean, as values with a text form.

A quantized weight is a code of `bits` bits; the code stands for an integer level, and the level times one scale per
output channel is the weight. Levels fit the integer width of the kernels (s8), so that every format runs on 8-bit
multipliers; hardware with shifters or adders can do with less (`cost`).

How many levels (the focused-quantization paper leaves two readings; here it is its equation 1):
    shift<b>    0 and +-2^e for 2^(b-2) exponents e: 2^(b-1) + 1 levels.
    focused<b>  one bit names a component, b-1 bits a shift<b-1> around the component's mean, and 0 stands for what is
                pruned: 2^(b-1) + 3 levels. A layer whose components do not stand apart is a plain shift<b>.
In s8 the eight exponents of shift<5> and of focused<6> become seven (a sum of mean and shift: at most seven), since
+128 is no s8: the least exponent goes. With one more bit there would be no further level, so these are the widest.

Source: Zhao et al., Focused Quantization for Sparse CNNs, NeurIPS 2019, sections 3.1 and 3.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import numpy as np

from .errors import InvalidPlanError

WIDTH_BITS = 8
"""The integer width of the kernels, unless said otherwise: levels are s8."""
FRACTIONS = range(-32, 33)


class Cost(Enum):
    """What the product of an activation and a weight takes in hardware."""

    FLOAT = "float multiply"
    MULTIPLY = "DSP multiply"
    SHIFT = "shift"
    ADD = "add"
    LOOKUP = "table look-up"


@dataclass(frozen=True)
class Format:
    """A number format; `parse_format(str(one)) == one`.

    bits: of one code, among `accepted`; InvalidPlanError otherwise.
    """

    bits: int
    name: ClassVar[str]
    accepted: ClassVar[range]
    cost: ClassVar[Cost]
    has_zero: ClassVar[bool] = True
    """Whether a weight can be exactly 0; what cannot is neither pruned nor padded."""

    def __post_init__(self):
        if type(self.bits) is not int or self.bits not in self.accepted:
            raise InvalidPlanError(f"{self.name}: got {self.bits!r} bits, accepted are {_span(self.accepted)}")

    def __str__(self) -> str:
        return f"{self.name}<{self.bits}>"

    @classmethod
    def pattern(cls) -> str:
        """The texts of this kind of format, such as "uniform<2..8>"."""
        return f"{cls.name}<{_span(cls.accepted)}>"

    @property
    def is_quantized(self) -> bool:
        """Whether values are codes of integers, not floating point."""
        return True

    @property
    def level_count(self) -> int:
        """How many levels a layer has at most, 0 among them where `has_zero`; never more than 2^bits."""
        return 2**self.bits

    def levels(self, width_bits: int = WIDTH_BITS) -> np.ndarray | None:
        """The integer levels, int16 ascending, where they are the same for every layer; None where they are fitted.

        Raises InvalidPlanError if they do not fit `width_bits`.
        """
        self._check_width(width_bits, self.bits)
        return np.arange(-(2 ** (self.bits - 1)), 2 ** (self.bits - 1), dtype=np.int16)

    def level_range(self, width_bits: int = WIDTH_BITS) -> tuple[int, int]:
        """The least and the greatest integer that can be a level."""
        levels = self.levels(width_bits)
        if levels is None:
            return -(2 ** (width_bits - 1)), 2 ** (width_bits - 1) - 1
        return int(levels[0]), int(levels[-1])

    @property
    def product_rows(self) -> int:
        """Rows of single-bit operations, each as wide as the activation, that one product takes; see bit_operations."""
        return self.bits

    def _check_width(self, width_bits: int, needed: int) -> None:
        if needed > width_bits:
            raise InvalidPlanError(
                f"{self}: its levels need integers of {needed} bits, the kernels' have {width_bits}; "
                f"accepted are formats whose levels fit them"
            )


@dataclass(frozen=True)
class Float32(Format):
    """IEEE single precision."""

    bits: int = 32
    name: ClassVar[str] = "float32"
    accepted: ClassVar[range] = range(32, 33)
    cost: ClassVar[Cost] = Cost.FLOAT

    def __str__(self) -> str:
        return self.name

    @classmethod
    def pattern(cls) -> str:
        """The format's only text."""
        return cls.name

    @property
    def is_quantized(self) -> bool:
        """No."""
        return False

    def levels(self, width_bits: int = WIDTH_BITS) -> None:
        """None: not integers."""


@dataclass(frozen=True)
class Bfloat16(Float32):
    """The upper half of a float32, rounded to nearest, ties to even."""

    bits: int = 16
    name: ClassVar[str] = "bfloat16"
    accepted: ClassVar[range] = range(16, 17)


@dataclass(frozen=True)
class Float16(Float32):
    """IEEE half precision, rounded to nearest, ties to even."""

    bits: int = 16
    name: ClassVar[str] = "float16"
    accepted: ClassVar[range] = range(16, 17)


@dataclass(frozen=True)
class Tfloat32(Float32):
    """A float32 with 10 bits of fraction, as tensor cores multiply it; it takes 32 bits in memory."""

    name: ClassVar[str] = "tfloat32"


@dataclass(frozen=True)
class Fixed(Format):
    """Two's complement with `fraction` bits behind the point: integers times 2^-fraction, for all channels alike.

    Bits from 2, because one bit would leave 0 and a negative value.
    """

    fraction: int
    name: ClassVar[str] = "fixed"
    accepted: ClassVar[range] = range(2, 9)
    cost: ClassVar[Cost] = Cost.MULTIPLY

    def __post_init__(self):
        super().__post_init__()
        if type(self.fraction) is not int or self.fraction not in FRACTIONS:
            raise InvalidPlanError(f"fixed: got {self.fraction!r} fraction bits, accepted are {_span(FRACTIONS)}")

    def __str__(self) -> str:
        return f"fixed<{self.bits},{self.fraction}>"

    @classmethod
    def pattern(cls) -> str:
        """The texts of this kind of format."""
        return f"fixed<{_span(cls.accepted)},{_span(FRACTIONS)}>"


@dataclass(frozen=True)
class Uniform(Format):
    """Two's complement times a scale per output channel: -2^(b-1) .. 2^(b-1)-1. Bits from 2, as for Fixed.

    An activation in this format is unsigned, 0 .. 2^b-1, where it cannot be negative.
    """

    name: ClassVar[str] = "uniform"
    accepted: ClassVar[range] = range(2, 9)
    cost: ClassVar[Cost] = Cost.MULTIPLY


@dataclass(frozen=True)
class Shift(Format):
    """0 and signed powers of two, s * 2^e. Two bits are -1, 0, 1; for the most bits see the module."""

    name: ClassVar[str] = "shift"
    accepted: ClassVar[range] = range(2, 6)
    cost: ClassVar[Cost] = Cost.SHIFT

    @property
    def level_count(self) -> int:
        """2^(b-2) exponents, two signs, and 0."""
        return 2 ** (self.bits - 1) + 1

    def levels(self, width_bits: int = WIDTH_BITS) -> np.ndarray:
        """As in Format; InvalidPlanError if no more of them fit `width_bits` than with one bit less."""
        wanted = 2 ** (self.bits - 2)
        self._check_width(width_bits, wanted // 2 + 2)
        return shift_levels(min(wanted, width_bits - 1))

    @property
    def product_rows(self) -> int:
        """The stages of a shifter: bits of the exponent."""
        return max(1, self.bits - 2)


@dataclass(frozen=True)
class Focused(Format):
    """Recentralised shift: two components, each a mean and a shift of the distance from it; or, for a layer whose
    components do not stand apart, a plain shift of as many bits. Three bits are the least that leave a shift<2> to a
    component; for the most see the module.
    """

    name: ClassVar[str] = "focused"
    accepted: ClassVar[range] = range(3, 7)
    cost: ClassVar[Cost] = Cost.SHIFT

    @property
    def level_count(self) -> int:
        """Two components of 2^(b-3) exponents, two signs and the mean; and 0."""
        return 2 ** (self.bits - 1) + 3

    def levels(self, width_bits: int = WIDTH_BITS) -> None:
        """None: means and deviations are fitted. InvalidPlanError as for the shift of each component."""
        self._check_width(width_bits, 2 ** (self.bits - 4) + 2 if self.bits > 3 else 3)

    @property
    def product_rows(self) -> int:
        """A shifter of the component's b-1 bits, and the sum of activations that waits for the component's mean."""
        return max(1, self.bits - 3) + 1


@dataclass(frozen=True)
class Codebook(Format):
    """2^b integers fitted to the layer, 0 always among them: one bit would leave a single weight, so bits from 2."""

    name: ClassVar[str] = "codebook"
    accepted: ClassVar[range] = range(2, 9)
    cost: ClassVar[Cost] = Cost.LOOKUP

    def levels(self, width_bits: int = WIDTH_BITS) -> None:
        """None: they are fitted. InvalidPlanError if the codes are longer than the integers they stand for."""
        self._check_width(width_bits, self.bits)

    @property
    def product_rows(self) -> int:
        """A multiplier for what the table holds."""
        return WIDTH_BITS


@dataclass(frozen=True)
class Binary(Format):
    """The sign, times a scale per output channel: -1 and 1, never 0."""

    bits: int = 1
    name: ClassVar[str] = "binary"
    accepted: ClassVar[range] = range(1, 2)
    cost: ClassVar[Cost] = Cost.ADD
    has_zero: ClassVar[bool] = False

    def __str__(self) -> str:
        return self.name

    @classmethod
    def pattern(cls) -> str:
        """The format's only text."""
        return cls.name

    def levels(self, width_bits: int = WIDTH_BITS) -> np.ndarray:
        """-1 and 1."""
        self._check_width(width_bits, 2)
        return np.array([-1, 1], np.int16)


WEIGHT_FORMATS = (Float32, Bfloat16, Float16, Tfloat32, Fixed, Uniform, Shift, Focused, Codebook, Binary)
ACTIVATION_FORMATS = (Float32, Bfloat16, Float16, Tfloat32, Uniform)


def shift_levels(exponents: int) -> np.ndarray:
    """0 and +-2^e for e below `exponents`, int16 ascending."""
    powers = 2 ** np.arange(exponents)
    return np.concatenate([-powers[::-1], [0], powers]).astype(np.int16)


def parse_format(text: str, accepted: tuple[type[Format], ...] = WEIGHT_FORMATS, what: str = "number format") -> Format:
    """The format behind a text such as "uniform<8>", "fixed<8,6>" or "float32".

    accepted: the kinds that may be meant; what: what the format is for, the first words of the error.
    Raises InvalidPlanError for anything but the text form of such a format.
    """
    found = _parse(text, accepted) if isinstance(text, str) else None
    if found is None:
        raise InvalidPlanError(f"{what}: got {text!r}, accepted are {', '.join(one.pattern() for one in accepted)}")
    return found


def _parse(text: str, accepted: tuple[type[Format], ...]) -> Format | None:
    match = re.fullmatch(r"([a-z]+[0-9]*)(?:<(\d+)(?:,(-?\d+))?>)?", text)
    kind = next((one for one in accepted if match and one.name == match[1]), None)
    if kind is None:
        return None
    try:
        found = kind(*(int(number) for number in match.groups()[1:] if number is not None))
    except (InvalidPlanError, TypeError):  # bits that are not accepted; too few or too many numbers
        return None
    return found if str(found) == text else None  # "uniform<08>", "binary<1>"


def bit_operations(weights: Format, activation_bits: int, macs: int) -> int:
    """Single-bit operations of the products of `macs` multiply-accumulates.

    A product takes `weights.product_rows` rows of `activation_bits` bits. Of a multiplier these are its partial
    products, so uniform<b> has the field's count, MACs * weight bits * activation bits (Zhou et al., DoReFa-Net, 2016),
    and float32 by float32 1,024. A shift has a row for each stage of its shifter, 2-to-1 multiplexers, one for each bit
    of the exponent; focused one more, the sum that waits for its component's mean; a codebook the 8-bit multiplier of
    what its table holds; binary one, the conditional negation. The 32-bit sums are the same for every format and are
    left out: the focused-quantization paper counts them too, in gates of one unrolled layer.
    """
    return macs * weights.product_rows * activation_bits


def _span(numbers: range) -> str:
    return f"{numbers[0]}..{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
