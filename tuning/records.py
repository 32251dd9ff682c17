"""The upkeep of records: JSON lines, merging, pruning, what is left of a damaged file, and a full disk."""

from __future__ import annotations

import contextlib
import datetime
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from espalier.core.errors import InvalidInputError
from espalier.core.files import read_text, write_atomically
from espalier.core.records import COLUMNS, Record, RecordFile, environment_text

SMALLEST_ROW_BYTES = 100
"""No record takes less room in a file."""


def export_lines(records: Iterable[Record], path) -> int:
    """Write records as JSON lines, an object each; returns how many."""
    lines = [json.dumps(dict(zip(COLUMNS.split(", "), record.row()))) for record in records]
    write_atomically(Path(path), "".join(f"{line}\n" for line in lines).encode())
    return len(lines)


def read_lines(path) -> tuple[list[Record], str]:
    """The records of a file of JSON lines, and a remark if its last line is cut off.

    Raises InvalidInputError for any other line that is no record.
    """
    lines = read_text(path, "records").splitlines()
    found: list[Record] = []
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
            found.append(Record.of_row([content[name] for name in COLUMNS.split(", ")]))
        except (ValueError, KeyError, TypeError, InvalidInputError):
            if found and number == len(lines):
                return found, f"{path}: its last line is cut off"
            raise InvalidInputError(f"records {path}: line {number} is no record in JSON") from None
    return found, ""


def read_any(path) -> tuple[list[Record], str]:
    """Every readable record of a file, and a remark if it is damaged; InvalidInputError if there is none."""
    try:
        with RecordFile(path) as file:
            return file.read(), ""
    except InvalidInputError as error:
        found = salvage(path)
        if not found:
            raise
        return found, f"{error}; {len(found)} records are readable"


def salvage(path) -> list[Record]:
    """What is readable of a damaged file, record by record: a page that is gone takes only its own records along."""
    with contextlib.suppress(sqlite3.Error, OSError):
        most = Path(path).stat().st_size // SMALLEST_ROW_BYTES
        connection = sqlite3.connect(f"file:{Path(path).absolute()}?mode=ro", uri=True)
        with contextlib.closing(connection):
            connection.execute("pragma writable_schema=on")  # without it SQLite opens no file that is too short
            return [record for number in range(1, most + 1) for record in _row(connection, number)]
    return []


def _row(connection: sqlite3.Connection, number: int) -> list[Record]:
    """The record of this number; none where it cannot be read."""
    with contextlib.suppress(sqlite3.Error, InvalidInputError):
        rows = connection.execute(f"select {COLUMNS} from records where rowid=?", (number,)).fetchall()
        return [Record.of_row(row) for row in rows]
    return []


def prune(records: Iterable[Record], keep: int = 3) -> list[Record]:
    """The records that may go: all but the `keep` latest of each task, choice and environment."""
    groups: dict[tuple, list[Record]] = {}
    for record in sorted(records, key=lambda one: one.date, reverse=True):
        groups.setdefault((record.task, record.choice, environment_text(record.environment)), []).append(record)
    return [old for group in groups.values() for old in group[keep:]]


class Notebook:
    """Where a tuner writes: a file, as long as it can be written; all of it stays in memory too.

    tell: is told once, in one line, that the file cannot be written. Later writes try again with all that is missing.
    """

    def __init__(self, file: RecordFile | None, tell: Callable[[str], None] = lambda line: None):
        self.file, self.tell, self.told = file, tell, False
        self.records: list[Record] = file.read() if file else []
        self.unwritten: list[Record] = []

    def add(self, records: Iterable[Record]) -> None:
        """Keep records; never raises because of the file."""
        fresh = list(records)
        self.records += fresh
        if self.file is None:
            return
        self.unwritten += fresh
        try:
            self.file.add(self.unwritten)
            self.unwritten = []
        except InvalidInputError as error:
            if not self.told:
                self.tell(f"{error}; tuning goes on, its records are only in memory")
            self.told = True


@contextlib.contextmanager
def opened(records) -> Iterator[RecordFile | None]:
    """The file, to read and to append to; None without one."""
    if records is None:
        yield None
        return
    with RecordFile(records, write=True) as file:
        yield file


def now() -> str:
    """The time of a record: UTC, to the microsecond, so that it tells trials apart."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")
