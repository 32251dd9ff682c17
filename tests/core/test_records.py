"""Records survive: every one is there whole or not at all, whoever else writes, and however a process ends."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from oracles.records import ENVIRONMENT, choice, record, records, task

from espalier.core.choices import Option
from espalier.core.errors import InvalidInputError
from espalier.core.records import Record, RecordedTimes, RecordFile, of_environment

WRITER = """
import sys
from oracles.records import record
from espalier.core.records import RecordFile
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with RecordFile(path, write=True) as file:
    for number in range(count):
        file.add([record(number, rows, detail=name, date=f"{name} {number}") for rows in (1, 2)])
        print(number, flush=True)
"""


def writer(path, name: str, count: int) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def read(path) -> list[Record]:
    with RecordFile(path) as file:
        return file.read()


def seconds(known: RecordedTimes, number: int = 0) -> dict:
    """What is known of a task by the rows of the choice."""
    found = known.seconds(task(number), [Option(choice(rows), 1.0) for rows in range(9)])
    return {dict(one.sizes)["rows"]: value for one, value in found.items()}


def test_what_is_added_is_there_once(tmp_path):
    with RecordFile(tmp_path / "new" / "r.db", write=True) as file:
        assert file.add(records(20)) == 20
        assert file.add(records(25)) == 5
    assert sorted(map(Record.row, read(tmp_path / "new" / "r.db"))) == sorted(map(Record.row, records(25)))


def test_several_processes_append_at_once(tmp_path):
    writers = [writer(tmp_path / "r.db", name, 40) for name in "abc"]
    assert [one.wait(timeout=60) for one in writers if one.communicate()] == [0, 0, 0]
    found = read(tmp_path / "r.db")
    assert len(found) == 240
    assert {one.detail for one in found} == set("abc")


def test_a_new_file_may_be_opened_by_several_at_once(tmp_path):
    def opened(path: Path) -> None:
        RecordFile(path, write=True).close()

    with ThreadPoolExecutor(4) as pool:
        for number in range(20):
            list(pool.map(opened, [tmp_path / f"{number}.db"] * 4))


def test_a_process_that_is_killed_leaves_whole_batches(tmp_path):
    one = writer(tmp_path / "r.db", "a", 100_000)
    while int(one.stdout.readline()) < 20:
        pass
    one.send_signal(signal.SIGKILL)
    one.communicate()
    found = read(tmp_path / "r.db")
    assert len(found) >= 40
    assert len(found) % 2 == 0
    with RecordFile(tmp_path / "r.db", write=True) as file:
        assert file.add([record(-1)]) == 1


@pytest.mark.parametrize(
    ("content", "word"), [(None, "no such file"), (b"no database at all" * 100, "not a database"), (b"", "version 0")]
)
def test_what_is_no_file_of_records_is_one_clear_error(content, word, tmp_path):
    path = tmp_path / "r.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=word):
        RecordFile(path)
    assert not content or path.read_bytes() == content


def test_another_programs_database_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("create table records (x)")
    with pytest.raises(InvalidInputError, match="version 0 of something"):
        RecordFile(tmp_path / "other.db", write=True)


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        RecordFile(tmp_path / "file" / "r.db", write=True)


@pytest.mark.parametrize(("state", "value"), [("ok", None), ("crashed", 1.0), ("ok", 0.0), ("fine", 1.0)])
def test_impossible_records_are_refused(state, value):
    with pytest.raises(InvalidInputError, match="record: got state"):
        record(state=state, seconds=value)


def test_a_build_takes_medians_of_undisturbed_trials():
    trials = [
        record(0, 1, value, state, date=str(value))
        for value, state in ((3, "ok"), (1, "ok"), (2, "ok"), (9, "disturbed"))
    ]
    trials += [record(0, 2, 5, "disturbed"), record(0, 3, None, "hung"), record(1, 1, 7)]
    known = RecordedTimes.of(trials, "r.db")
    assert seconds(known) == {1: 2, 2: 5}
    assert seconds(known, 1) == {1: 7}
    assert seconds(known, 2) == {}


@pytest.mark.parametrize("state", ["wrong", "crashed", "hung"])
def test_a_choice_that_ever_went_wrong_is_not_taken(state):
    known = RecordedTimes.of([record(0, 1), record(0, 1, None, state, date="later"), record(0, 2, 3)], "r.db")
    assert seconds(known) == {2: 3}


def test_the_digest_changes_with_the_answers():
    digests = {RecordedTimes.of(some, "r.db").digest() for some in ([], records(3), records(4), [record(0, 1, 1.5)])}
    assert len(digests) == 4
    assert RecordedTimes.of(records(4), "a").digest() == RecordedTimes.of(records(4)[::-1], "a").digest()


def test_records_of_another_machine_answer_only_where_there_are_no_others():
    here, there, far = (record(environment={**ENVIRONMENT, "machine": name}) for name in ("abacus", "b", "c"))
    old = record(environment={**ENVIRONMENT, "compiler": "older"})
    assert of_environment([here, there, old], ENVIRONMENT) == [here]
    assert of_environment([there, old], ENVIRONMENT) == [there]
    assert of_environment([there, far], ENVIRONMENT) == of_environment([old], ENVIRONMENT) == []
