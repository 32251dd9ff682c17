"""Measurements of kernels on disk: what a tuner wrote, a build reads.

One SQLite file. Several processes may read and append at once, and any of them may be killed: a record is there whole
or not at all. A record is measured on one machine by one compiler, its environment; other environments' records may
lie in the same file and answer only there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .choices import DIGEST_DIGITS, Choice, Option, Task
from .errors import InvalidInputError

VERSION = 1
MACHINE = "machine"
"""The part of an environment that a build for another machine need not share."""
BUSY_S = 30.0
"""So long a process waits for another one that writes."""

STATES = ("ok", "disturbed", "wrong", "crashed", "hung", "failed")
"""What became of a trial: measured; measured while the machine did something else; other numbers than the reference;
the process died; it did not end in time; it did not compile."""

_TABLE = """create table if not exists records (
    task text not null, choice text not null, environment text not null, state text not null, seconds real,
    spread real, repeats integer not null, detail text not null, date text not null,
    unique (task, choice, environment, date))"""
COLUMNS = "task, choice, environment, state, seconds, spread, repeats, detail, date"


@dataclass(frozen=True)
class Record:
    """One trial of one choice.

    environment: plain values by name: what the trial was measured on and with. state: one of STATES. seconds: median
    of a run, spread: distance between the quartiles as a share of it; both None unless it was measured.
    repeats: samples. detail: what went wrong, "" if nothing did. date: UTC, ISO 8601.
    """

    task: Task
    choice: Choice
    environment: Mapping[str, str]
    state: str
    seconds: float | None = None
    spread: float | None = None
    repeats: int = 0
    detail: str = ""
    date: str = ""

    def __post_init__(self) -> None:
        measured = self.seconds is not None and 0 < self.seconds < float("inf")
        if self.state not in STATES or measured != (self.state in ("ok", "disturbed")):
            raise InvalidInputError(
                f"record: got state {self.state!r} with {self.seconds} seconds, accepted are {STATES}"
            )

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits by which reports speak of the record."""
        return hashlib.sha256("\n".join(map(str, self.row())).encode()).hexdigest()[: DIGEST_DIGITS // 2]

    def row(self) -> tuple:
        """Plain values in the order of the table."""
        measured = (self.state, self.seconds, self.spread, self.repeats, self.detail, self.date)
        return (self.task.text, str(self.choice), environment_text(self.environment), *measured)

    @staticmethod
    def of_row(row: Sequence) -> Record:
        """The record behind `row`; InvalidInputError if it is none."""
        task, choice, environment, *rest = row
        try:
            return Record(Task.parse(task), Choice.parse(choice), json.loads(environment), *rest)
        except (TypeError, ValueError, AttributeError):
            raise InvalidInputError(f"record: got {str(row)[:80]}, accepted is what a tuner wrote") from None


def environment_text(environment: Mapping[str, str]) -> str:
    """The environment as a key: canonical JSON."""
    return json.dumps(dict(environment), sort_keys=True, separators=(",", ":"))


class RecordFile:
    """A file of records, opened for reading or, if `write`, created where it is missing.

    Raises InvalidInputError where there is no such file, it is no file of records, or it cannot be written.
    """

    def __init__(self, path, write: bool = False):
        self.path = Path(path)
        if not write and not self.path.is_file():
            raise InvalidInputError(f"records {path}: no such file")
        with self._explained():
            if write:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=BUSY_S)
            self._check(write)
            if write:
                self._log_ahead()

    def _check(self, write: bool) -> None:
        """See that it is a file of ours; make an empty one such a file, at once for all who open it meanwhile."""
        with self._connection:
            self._connection.execute("begin immediate" if write else "begin")
            version, tables = self._one("pragma user_version"), self._one("select count(*) from sqlite_master")
            if (tables or not write) and version != VERSION:
                raise InvalidInputError(f"records {self.path}: version {version} of something, accepted is {VERSION}")
            if write:
                self._connection.execute(_TABLE)
                self._connection.execute(f"pragma user_version={VERSION}")

    def _log_ahead(self) -> None:
        """Keep a write-ahead log; SQLite does not wait for others by itself when a file's kind of log changes."""
        end = time.monotonic() + BUSY_S
        while True:
            try:
                self._connection.execute("pragma journal_mode=wal")
                self._connection.execute("pragma synchronous=normal")
                return
            except sqlite3.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def add(self, records: Iterable[Record]) -> int:
        """Append records, all or none; those that are there already change nothing. Returns how many were new."""
        rows = [record.row() for record in records]
        with self._explained(), self._connection:
            before = self._connection.total_changes
            self._connection.executemany(f"insert or ignore into records ({COLUMNS}) values (?,?,?,?,?,?,?,?,?)", rows)
            return self._connection.total_changes - before

    def remove(self, records: Iterable[Record]) -> None:
        """Remove records."""
        keys = [(*record.row()[:3], record.date) for record in records]
        with self._explained(), self._connection:
            where = "task=? and choice=? and environment=? and date=?"
            self._connection.executemany(f"delete from records where {where}", keys)

    def read(self) -> list[Record]:
        """Every record, in the order in which they were added."""
        with self._explained():
            return [Record.of_row(row) for row in self._connection.execute(f"select {COLUMNS} from records")]

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _one(self, query: str):
        return self._connection.execute(query).fetchone()[0]

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            hint = "; `espalier records merge` takes what is readable" if "malformed" in str(error) else ""
            raise InvalidInputError(f"records {self.path}: {error}{hint}") from None
        except OSError as error:
            raise InvalidInputError(f"records {self.path}: cannot be written ({error.strerror})") from None


def of_environment(records: Iterable[Record], environment: Mapping[str, str]) -> list[Record]:
    """The records of an environment; if there are none of its machine, those of the only other machine."""
    versions = {name: value for name, value in environment.items() if name != MACHINE}
    same = [record for record in records if versions.items() <= record.environment.items()]
    here = [record for record in same if record.environment.get(MACHINE) == environment.get(MACHINE)]
    machines = {record.environment.get(MACHINE) for record in same}
    return here or (same if len(machines) == 1 else [])


@dataclass(frozen=True)
class RecordedTimes:
    """What the records of one environment say of kernels' times: the answer that a build takes (`KernelTimes`).

    Each choice has the median of its undisturbed records, or of the disturbed ones where there are no others; of two
    the slower one, for what was chosen as the best of many measurements was lucky more often than not.
    """

    known: Mapping[str, Mapping[Choice, Record]]
    source: str

    @staticmethod
    def read(path, environment: Mapping[str, str]) -> RecordedTimes:
        """The answers of a file; InvalidInputError as from `RecordFile`."""
        with RecordFile(path) as file:
            return RecordedTimes.of(of_environment(file.read(), environment), Path(path).name)

    @staticmethod
    def of(records: Iterable[Record], source: str) -> RecordedTimes:
        """The answers of records, which are of one environment."""
        grouped: dict[str, dict[Choice, list[Record]]] = {}
        for record in records:
            grouped.setdefault(record.task.text, {}).setdefault(record.choice, []).append(record)
        medians = {
            task: {choice: _median(trials) for choice, trials in choices.items() if _is_sound(trials)}
            for task, choices in grouped.items()
        }
        return RecordedTimes({task: choices for task, choices in medians.items() if choices}, source)

    def seconds(self, task: Task, options: Sequence[Option]) -> dict[Choice, float]:
        """See `KernelTimes`."""
        known = self.known.get(task.text, {})
        return {one.choice: known[one.choice].seconds for one in options if one.choice in known}

    def digest(self) -> str:
        """SHA-256 over every answer, and the name of the file that reports speak of."""
        answers = sorted((task, str(c), r.seconds) for task, found in self.known.items() for c, r in found.items())
        return hashlib.sha256(json.dumps([self.source, answers]).encode()).hexdigest()

    def remark(self, task: Task, choice: Choice) -> str:
        """See `KernelTimes`."""
        return f"record {self.known[task.text][choice].digest} of {self.source}"


def _is_sound(trials: list[Record]) -> bool:
    """Whether it ever gave a time, and never crashed, hung or gave wrong numbers."""
    return any(one.seconds for one in trials) and not any(one.state in ("wrong", "crashed", "hung") for one in trials)


def _median(trials: list[Record]) -> Record:
    """The record in the middle, the slower one of two, of the undisturbed ones if there are any."""
    measured = [one for one in trials if one.seconds]
    calm = [one for one in measured if one.state == "ok"] or measured
    return sorted(calm, key=lambda one: one.seconds)[len(calm) // 2]
