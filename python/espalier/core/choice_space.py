"""Spaces of named choices: a point takes one of a few values in every dimension.

A space has a text form, one dimension a line: `stage1.width = 8 | 16`. So has a point: `stage1.width=16 ...`.
Dimensions may be idle at a point, where others decide that they say nothing; the point has no values of these.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .errors import InvalidInputError

Value = int | float | str
Point = dict[str, Value]
"""Dimension -> value."""

COUNTED = 2000
"""Points of a space with idle dimensions that are counted one by one."""


@dataclass(frozen=True)
class ChoiceSpace:
    """dimensions: name -> the values that it may have, each once; numbers rise. Those of a dimension are of one type.

    idle: which dimensions say nothing at a point, None if none ever does; it is no part of the text form. A dimension
        that it looks at is not idle itself where that matters.
    Raises InvalidInputError for a dimension without values, with repeated or mixed ones, and for a space without any.
    """

    dimensions: Mapping[str, tuple[Value, ...]]
    idle: Callable[[Mapping[str, Value]], Collection[str]] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self):
        if not self.dimensions:
            raise InvalidInputError("space: it has no dimensions, accepted is one or more")
        for name, values in self.dimensions.items():
            _check_dimension(name, values)

    @cached_property
    def size(self) -> int:
        """How many points there are; where some dimensions may be idle and there are more than COUNTED, at most."""
        most = math.prod(map(len, self.dimensions.values()))
        if self.idle is None or most > COUNTED:
            return most
        points = (dict(zip(self.dimensions, values)) for values in itertools.product(*self.dimensions.values()))
        return len({point_text(self.settled(point)) for point in points})

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """What `encode` gives: one column for a dimension of numbers, one for each text of the others."""
        found = []
        for name, values in self.dimensions.items():
            found += [name] if _is_ordered(values) else [f"{name}={value}" for value in values]
        return tuple(found)

    def check(self, point: Mapping[str, Value]) -> None:
        """Raise InvalidInputError unless this is a point of the space."""
        needed = self.settled({**{name: values[0] for name, values in self.dimensions.items()}, **point})
        for name in (*needed, *point):
            if name not in needed or name not in point:
                where = "point" if name not in point else "space"
                accepted = ", ".join(self.dimensions)
                raise InvalidInputError(f"point: {name} is not in the {where}, accepted are {accepted}")
            if point[name] not in self.dimensions[name]:
                raise InvalidInputError(
                    f"point, {name}: got {point[name]!r}, accepted are {', '.join(map(str, self.dimensions[name]))}"
                )

    def settled(self, point: Mapping[str, Value]) -> Point:
        """Without values of dimensions that are idle, of which the point may have some."""
        idle = self.idle(point) if self.idle else ()
        return {name: point[name] for name in self.dimensions if name not in idle}

    def sample(self, random: np.random.Generator) -> Point:
        """A point, each with the same chance; where dimensions may be idle, each value."""
        return self._completed({}, random)

    def mutate(self, point: Point, random: np.random.Generator, rate: float = 0.1) -> Point:
        """A neighbour: each dimension gets another value with the chance `rate`, and at least one that can does."""
        free = [name for name, values in self.dimensions.items() if len(values) > 1 and name in point]
        if not free:
            return dict(point)
        chosen = [name for name in free if random.random() < rate] or [free[random.integers(len(free))]]
        changed = dict(point)
        for name in chosen:
            others = [value for value in self.dimensions[name] if value != point[name]]
            changed[name] = others[random.integers(len(others))]
        return self._completed(changed, random)

    def cross(self, one: Point, other: Point, random: np.random.Generator) -> Point:
        """A child that has each value from one of its parents, or a drawn one where both are without."""
        pairs = ((name, (one, other) if random.random() < 0.5 else (other, one)) for name in self.dimensions)
        found = {name: first.get(name, second.get(name)) for name, (first, second) in pairs}
        return self._completed({name: value for name, value in found.items() if value is not None}, random)

    def _completed(self, point: Mapping[str, Value], random: np.random.Generator) -> Point:
        """With drawn values where it has none, and without those that are idle."""
        whole = {
            name: point[name] if name in point else values[random.integers(len(values))]
            for name, values in self.dimensions.items()
        }
        return self.settled(whole)

    def encode(self, point: Point) -> np.ndarray:
        """float64 [columns], each in 0 .. 1: the place of a number among its dimension's, one-hot for texts; 0 where
        the dimension is idle."""
        row: list[float] = []
        for name, values in self.dimensions.items():
            place = values.index(point[name]) if name in point else None
            if _is_ordered(values):
                row.append((place or 0) / max(1, len(values) - 1))
            else:
                row += [float(number == place) for number in range(len(values))]
        return np.array(row)

    def __str__(self) -> str:
        return "".join(f"{name} = {' | '.join(map(str, values))}\n" for name, values in self.dimensions.items())

    @staticmethod
    def parse(text: str) -> ChoiceSpace:
        """The space behind a text form; InvalidInputError, with the line, for anything else."""
        found: dict[str, tuple[Value, ...]] = {}
        for line in filter(None, map(str.strip, text.splitlines())):
            name, equals, values = (part.strip() for part in line.partition("="))
            if not equals or not name or name in found:
                raise InvalidInputError(f"space: got the line {line!r}, accepted is NAME = VALUE | VALUE, a name once")
            found[name] = tuple(_value(value.strip()) for value in values.split("|"))
        return ChoiceSpace(found)


def point_text(point: Mapping[str, Value]) -> str:
    """A point in one line."""
    return " ".join(f"{name}={value}" for name, value in point.items())


def parse_point(text: str) -> Point:
    """The point behind `point_text`; InvalidInputError for anything else."""
    found: Point = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals or not name or name in found:
            raise InvalidInputError(f"point: got {word!r}, accepted is NAME=VALUE, a name once")
        found[name] = _value(value)
    return found


def _value(text: str) -> Value:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _is_ordered(values: tuple[Value, ...]) -> bool:
    return not isinstance(values[0], str)


def _check_dimension(name: str, values: tuple[Value, ...]) -> None:
    if any(one.isspace() or one in "=|" for one in name) or not name:
        raise InvalidInputError(f"space: got the dimension {name!r}, accepted are names without blanks, = and |")
    if not values or len(set(values)) < len(values):
        raise InvalidInputError(f"space, {name}: got {list(values)}, accepted is one value or more, each once")
    texts = [isinstance(value, str) for value in values]
    if any(texts) and not all(texts):
        raise InvalidInputError(f"space, {name}: got {list(values)}, accepted are either numbers or texts")
    if not any(texts) and list(values) != sorted(values):
        raise InvalidInputError(f"space, {name}: got {list(values)}, accepted are numbers that rise")
    for value in values:
        text = str(value)
        if not text or _value(text) != value or text != text.strip() or any(c in " =|\n" for c in text):
            raise InvalidInputError(
                f"space, {name}: got {value!r}, accepted are numbers, and texts without blanks, = and |"
            )
