"""What a benchmark has to show: bars, each met, missed or not measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table

from .records import FOLDER


@dataclass(frozen=True)
class Bar:
    """name: of what is shown; wanted: in words. found: a number or words, None where nothing was measured."""

    name: str
    wanted: str
    found: float | str | None
    is_met: bool

    @staticmethod
    def least(name: str, found: float | None, wanted: float) -> Bar:
        """Met by as much or more."""
        return Bar(name, f">= {wanted:g}", found, found is not None and found >= wanted)

    @staticmethod
    def most(name: str, found: float | None, wanted: float) -> Bar:
        """Met by as much or less."""
        return Bar(name, f"<= {wanted:g}", found, found is not None and found <= wanted)

    @property
    def verdict(self) -> str:
        """In words."""
        if self.found is None:
            return "not measured"
        return "met" if self.is_met else "MISSED"


def shown(bars: Sequence[Bar]) -> Table:
    """A line for each."""
    table = Table(title="bars")
    for heading in ("", "wanted", "found", "verdict"):
        table.add_column(heading)
    for one in bars:
        found = "" if one.found is None else one.found if isinstance(one.found, str) else f"{one.found:.4g}"
        table.add_row(one.name, one.wanted, found, one.verdict)
    return table


def of_record(name: str, bars_of: Callable[[object], list[Bar]]) -> list[Bar]:
    """The bars of what a record holds; of `None`, all of them not measured, where there is none."""
    path = FOLDER / f"{name}.json"
    return bars_of(json.loads(path.read_text())["results"] if path.is_file() else None)
