"""Upkeep of records: nothing readable is lost, whatever happened to a file or to the disk."""

from __future__ import annotations

import pytest
from oracles.records import record, records

from espalier.core.errors import InvalidInputError
from espalier.core.records import RecordFile
from espalier.tuning.records import Notebook, export_lines, prune, read_any, read_lines, salvage


def rows(found) -> list[tuple]:
    return sorted(one.row() for one in found)


def written(path, count: int):
    """A file of so many records, closed."""
    with RecordFile(path, write=True) as file:
        for one in records(count):
            file.add([one])
    return path


def test_json_lines_come_back(tmp_path):
    assert export_lines(records(9), tmp_path / "r.jsonl") == 9
    found, remark = read_lines(tmp_path / "r.jsonl")
    assert (rows(found), remark) == (rows(records(9)), "")


def test_a_last_line_that_is_cut_off_is_left_out(tmp_path):
    export_lines(records(9), tmp_path / "r.jsonl")
    content = (tmp_path / "r.jsonl").read_bytes()
    (tmp_path / "r.jsonl").write_bytes(content[:-30])
    found, remark = read_lines(tmp_path / "r.jsonl")
    assert rows(found) == rows(records(8))
    assert "its last line is cut off" in remark
    (tmp_path / "r.jsonl").write_bytes(b"{}\n" + content)
    with pytest.raises(InvalidInputError, match="line 1 is no record"):
        read_lines(tmp_path / "r.jsonl")


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.95])
def test_a_file_cut_off_in_the_middle(share, tmp_path):
    """A clear error at once, and all of what is left is readable."""
    path = written(tmp_path / "r.db", 400)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InvalidInputError, match="malformed.*espalier records merge"):
        RecordFile(path).read()
    found, remark = read_any(path)
    assert "records are readable" in remark
    assert set(rows(found)) <= set(rows(records(400)))
    assert len(found) > 400 * (share - 0.25)


def test_a_whole_file_is_read_whole(tmp_path):
    path = written(tmp_path / "r.db", 30)
    assert rows(salvage(path)) == rows(read_any(path)[0]) == rows(records(30))
    assert read_any(path)[1] == ""


def test_nothing_readable_is_an_error(tmp_path):
    (tmp_path / "r.db").write_bytes(b"\0" * 5000)
    with pytest.raises(InvalidInputError, match="not a database"):
        read_any(tmp_path / "r.db")


def test_pruning_keeps_the_latest():
    trials = [record(0, 1, 1.0, date=f"day {day}") for day in range(5)] + [record(0, 2), record(1, 1)]
    assert sorted(one.date for one in prune(trials, keep=2)) == ["day 0", "day 1", "day 2"]


def test_a_full_disk_keeps_all_in_memory_and_is_told_once(tmp_path):
    """SQLite's own limit of pages stands for the disk's end."""
    told = []
    with RecordFile(tmp_path / "r.db", write=True) as file:
        book = Notebook(file, told.append)
        book.add(records(3))
        _limit_pages(file, 0)
        for one in records(60)[3:]:
            book.add([one])
        assert rows(book.records) == rows(records(60))
        (line,) = told
        assert "disk is full; tuning goes on" in line
        assert 3 <= len(file.read()) < 60
        _limit_pages(file, 1 << 20)
        book.add([])
        assert rows(file.read()) == rows(records(60))


def test_a_notebook_without_a_file():
    book = Notebook(None)
    book.add(records(2))
    assert rows(book.records) == rows(records(2))


def _limit_pages(file: RecordFile, count: int) -> None:
    """At most so many pages, but as many as there are."""
    file._connection.execute(f"pragma max_page_count={max(count, 1)}")
