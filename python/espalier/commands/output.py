"""What a command returns, and how it reaches the terminal: tables or one JSON object on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

WIDTH_OF_A_FILE = 100


@dataclass(frozen=True)
class Outcome:
    """The result of a command.

    data: JSON-able values. shown: tables and lines of text in order. exit_code: 0 unless a check failed.
    """

    data: dict
    shown: tuple[RenderableType, ...] = field(default=())
    exit_code: int = 0


def show(outcome: Outcome, as_json: bool) -> None:
    """Print an outcome to stdout."""
    if as_json:
        sys.stdout.write(json.dumps(outcome.data, indent=2) + "\n")
        return
    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE, highlight=False)
    for one in outcome.shown:
        console.print(one, markup=False, soft_wrap=isinstance(one, str))


def note(line: str) -> None:
    """Say on stderr what is good to know before a command does its work."""
    sys.stderr.write(f"espalier: {line}\n")


class Steps:
    """A bar of steps, and one below it while a step reports its own progress."""

    def __init__(self, bar: Progress, total: int):
        self._bar, self._begun = bar, 0
        self._whole = bar.add_task("", total=total)
        self._part: TaskID | None = None

    def begin(self, name: str) -> None:
        """Name the step that begins; the one before it is done."""
        if self._part is not None:
            self._bar.remove_task(self._part)
            self._part = None
        self._bar.update(self._whole, description=name, completed=self._begun)
        self._begun += 1

    def part(self, done: int, total: int, name: str) -> None:
        """How far the current step is."""
        if self._part is None:
            self._part = self._bar.add_task(name)
        self._bar.update(self._part, description=f"  {name}", completed=done, total=total)


@contextmanager
def steps(total: int) -> Iterator[Steps]:
    """A bar of `total` steps on stderr."""
    with _progress() as bar:
        yield Steps(bar, total)


@contextmanager
def rounds(total: int, name: str) -> Iterator[Callable[[], None]]:
    """A bar that is redrawn only when the function it gives is called, so that nothing disturbs a measurement."""
    with _progress(auto_refresh=False) as bar:
        task = bar.add_task(name, total=total)

        def advance() -> None:
            bar.update(task, advance=1, refresh=True)

        yield advance


@contextmanager
def limited() -> Iterator[None]:
    """Name the option of commands that run tools where one of these ran past its time."""
    from espalier.measure.fpga.tools import ToolTimeoutError

    try:
        yield
    except ToolTimeoutError as error:
        raise ToolTimeoutError(f"{error}; --limit SECONDS gives it longer") from None


@contextmanager
def shares(name: str) -> Iterator[Callable[[float, str], None]]:
    """A bar that is filled to a share between 0 and 1, with a text, only when the function it gives is called."""
    with _progress(auto_refresh=False) as bar:
        task = bar.add_task(name, total=1.0)

        def show(share: float, text: str) -> None:
            bar.update(task, completed=share, description=text, refresh=True)

        yield show


def _progress(**options) -> Progress:
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal, **options)
