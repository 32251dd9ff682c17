"""Skips that are failures where all that can be installed is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.skipif(True, reason="needs verilator")
def test_a_mark(): ...

def test_a_package():
    pytest.importorskip("no_such_package")

@pytest.mark.skipif(True, reason="this CPU has no neon")
def test_of_another_processor(): ...

@pytest.mark.xfail
def test_that_is_known_to_fail():
    assert False

def test_that_passes(): ...
"""


@pytest.mark.parametrize(
    ("value", "code", "counts"),
    [
        ("1", 1, "1 passed, 1 skipped, 1 xfailed, 2 errors"),
        ("0", 0, "1 passed, 4 skipped, 1 xfailed"),
    ],
)
def test_only_skips_for_what_cannot_be_installed_are_accepted(value, code, counts, tmp_path):
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_whole.py").write_text("import pytest\npytest.importorskip('no_such_package')\n")
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    words = ["-p", "skips", "-p", "no:cacheprovider", "--continue-on-collection-errors", "-q", "--rootdir", tmp_path]
    command = [sys.executable, "-m", "pytest", *map(str, words), str(tmp_path)]
    found = subprocess.run(
        command, cwd=tmp_path, env=environment | {"ESPALIER_NO_SKIPS": value}, capture_output=True, text=True
    )
    said = [line for line in found.stdout.splitlines() if "forbids" in line]
    assert found.returncode == code, found.stdout
    assert counts in found.stdout
    assert bool(said) == (value == "1")
    assert not [line for line in said if not line.endswith(("needs verilator", "No module named 'no_such_package'"))]
