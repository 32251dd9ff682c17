"""Records that no tuner measured."""

from __future__ import annotations

from espalier.core.choices import Choice, Task
from espalier.core.records import Record

ENVIRONMENT = {"machine": "abacus", "compiler": "by hand", "espalier": "0"}


def task(number: int = 0) -> Task:
    """A task like no other number's."""
    return Task("conv", {"number": number}, {"kind": "llvm"})


def choice(rows: int) -> Choice:
    """A tile of so many rows."""
    return Choice("blocked", (("rows", rows),))


def record(number: int = 0, rows: int = 1, seconds: float | None = 1.0, state: str = "ok", date: str = "", **more):
    """A record of a task's choice."""
    given = {"environment": ENVIRONMENT, "spread": 0.01, "repeats": 5, **more}
    return Record(
        task(number), choice(rows), state=state, seconds=seconds, date=date or f"day {number}.{rows}", **given
    )


def records(count: int) -> list[Record]:
    """So many different ones."""
    return [record(number // 7, number % 7, 1.0 + number) for number in range(count)]
