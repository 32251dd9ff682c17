"""What a tuner may choose: tasks, the choices that a code generator has for them, and what is known of their times.

A code generator lists the choices of a task, a tuner measures some of them, and a build asks what is known. Each of
them speaks only of these values, so none of them needs to know the others.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from .errors import InvalidInputError

DIGEST_DIGITS = 16

_CHOICE = re.compile(r"(\w+)\((\w+=-?\d+(?:, \w+=-?\d+)*)?\)")


@dataclass(frozen=True, eq=False)
class Task:
    """An operator with its shapes on a target: all that the time of a choice depends on.

    operator: one of `ir_names`' operators. facts: plain JSON-able values by name, as the code generator describes
    the operator (its parameters and shapes; how many channels its lists hold, and in which granularity). device:
    plain values by name, what the code generator compiles for. Two layers of equal facts are one task, so
    nothing in it is a layer's name.
    """

    operator: str
    facts: Mapping
    device: Mapping

    @cached_property
    def text(self) -> str:
        """The key of the task: canonical JSON, the same in every process and version of Python."""
        content = {"operator": self.operator, "facts": self.facts, "device": self.device}
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @cached_property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the text's SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:DIGEST_DIGITS]

    @staticmethod
    def parse(text: str) -> Task:
        """The task with this text; InvalidInputError if it is none."""
        try:
            content = json.loads(text)
            return Task(content["operator"], dict(content["facts"]), dict(content["device"]))
        except (ValueError, KeyError, TypeError):
            raise InvalidInputError(f"task: got {text[:80]!r}, accepted is the text of a task") from None

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other) -> bool:
        return isinstance(other, Task) and self.text == other.text


@dataclass(frozen=True, order=True)
class Choice:
    """One way to compute a task: a kernel family and its tile's sizes by name, such as blocked(blocks=2, rows=1)."""

    family: str
    sizes: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.family}({', '.join(f'{name}={size}' for name, size in self.sizes)})"

    @staticmethod
    def parse(text: str) -> Choice:
        """The choice with this text; InvalidInputError if it is none."""
        matched = _CHOICE.fullmatch(text)
        if not matched:
            raise InvalidInputError(f"choice: got {text!r}, accepted is a text such as blocked(blocks=2, rows=1)")
        pairs = (pair.split("=") for pair in filter(None, (matched[2] or "").split(", ")))
        return Choice(matched[1], tuple((name, int(size)) for name, size in pairs))


@dataclass(frozen=True)
class Option:
    """A choice of a task with what the code generator's own analytic rule expects of it, in cycles of one core."""

    choice: Choice
    cycles: float


class KernelTimes(Protocol):
    """What a build may know of times: from records, or from a trained cost model."""

    def seconds(self, task: Task, options: Sequence[Option]) -> Mapping[Choice, float]:
        """Seconds of those options of the task that are known."""

    def digest(self) -> str:
        """Changes whenever an answer may."""

    def remark(self, task: Task, choice: Choice) -> str:
        """Where the time of an option comes from, a few words for the artifact's report."""
