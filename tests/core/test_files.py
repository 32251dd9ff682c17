from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from espalier.core.errors import InvalidInputError
from espalier.core.files import claimed, write_atomically

HOLD = """
import sys
from pathlib import Path
from espalier.core.files import claimed
with claimed(Path(sys.argv[1])) as is_mine:
    print(is_mine, flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_no_file_to_write(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInputError) as raised:
        write_atomically(tmp_path / "folder", b"x")
    assert str(raised.value) == f"{tmp_path / 'folder'}: is a folder, accepted is a file"
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]


def test_a_file_is_claimed_by_one_process_until_it_is_killed(tmp_path):
    path = tmp_path / "one" / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        with claimed(path) as is_mine:
            assert not is_mine
        other.kill()
        other.wait()
        with claimed(path) as is_mine:
            assert is_mine
    with claimed(path) as is_mine:
        assert is_mine


def test_a_claim_can_be_waited_for(tmp_path):
    path, ends = tmp_path / "lock", []

    def wait() -> None:
        with claimed(path, waits=True) as is_mine:
            ends.append(is_mine)

    with claimed(path):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.2)
        assert ends == []
    thread.join(10)
    assert ends == [True]


def test_a_claim_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="cannot be written"), claimed(tmp_path / "file" / "lock"):
        pass
