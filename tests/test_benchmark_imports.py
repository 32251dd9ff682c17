"""Benchmarks run rarely: what they take from the package must still be there, and nobody should find out by running."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(BENCHMARKS.rglob("*.py"))


def taken(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of each import from espalier."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "espalier":
            yield from ((node.module, alias.name) for alias in node.names)


def is_there(module: str, name: str) -> bool:
    found = importlib.import_module(module)
    if hasattr(found, name) or not hasattr(found, "__path__"):
        return hasattr(found, name)
    return importlib.util.find_spec(f"{module}.{name}") is not None


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(path):
    assert [one for one in taken(path) if not is_there(*one)] == []


def test_a_missing_name_is_found(tmp_path):
    (tmp_path / "bench.py").write_text("from espalier.core.cache_folder import OFF, NEVER\n")
    assert [is_there(*one) for one in taken(tmp_path / "bench.py")] == [True, False]
