"""The wheel holds every module and every data file, and nothing else."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FOLDERS = {"python/espalier": "espalier"} | {name: f"espalier/{name}" for name in ("passes", "codegen", "tuning")}
SOURCES = ("setup.py", "pyproject.toml", "LICENSE", *FOLDERS)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel built from a copy of the tree, so that the build leaves nothing behind in it."""
    copy, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = REPOSITORY / name
        copier = shutil.copytree if source.is_dir() else shutil.copy
        (copy / name).parent.mkdir(exist_ok=True)
        copier(source, copy / name)
    command = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([sys.executable, *command, str(output), str(copy)], check=True, capture_output=True)
    with zipfile.ZipFile(next(output.glob("espalier-*.whl"))) as archive:
        yield archive


def files_of_the_tree() -> dict[str, Path]:
    """Each file of the four folders by its name in the wheel."""
    return {
        f"{package}/{path.relative_to(REPOSITORY / folder).as_posix()}": path
        for folder, package in FOLDERS.items()
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_every_file_is_in_the_wheel(wheel):
    missing = files_of_the_tree().keys() - set(wheel.namelist())
    assert not missing


def test_nothing_else_is_in_the_wheel(wheel):
    own = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert set(own) <= files_of_the_tree().keys()


@pytest.mark.parametrize("name", ["mcifarnet.onnx", "cifar10_sample.npz"])
def test_data_arrives_unchanged(wheel, name):
    stored = wheel.read(f"espalier/frontend/bundled/{name}")
    assert stored == (REPOSITORY / "python/espalier/frontend/bundled" / name).read_bytes()


def test_the_bundled_model_is_small():
    folder = REPOSITORY / "python/espalier/frontend/bundled"
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < 10_000_000


def metadata_file(wheel: zipfile.ZipFile, name: str) -> str:
    return next(wheel.read(entry).decode() for entry in wheel.namelist() if entry.endswith(f".dist-info/{name}"))


@pytest.mark.parametrize(
    ("group", "target"), [("console_scripts", "espalier.cli:main"), ("tvm.backends", "espalier.autoload:register")]
)
def test_entry_points_lead_somewhere(wheel, group, target):
    declared = configparser.ConfigParser()
    declared.read_string(metadata_file(wheel, "entry_points.txt"))
    assert declared[group]["espalier"] == target
    module = target.split(":")[0].replace(".", "/")
    assert {f"{module}.py", f"{module}/__init__.py"} & set(wheel.namelist())


def test_metadata_names_licence_and_extras(wheel):
    text = metadata_file(wheel, "METADATA")
    assert "License-Expression: Apache-2.0" in text
    assert metadata_file(wheel, "licenses/LICENSE") == (REPOSITORY / "LICENSE").read_text()
    for extra in ("torch", "peers", "bench", "test", "dev"):
        assert f"Provides-Extra: {extra}" in text
    assert not [line for line in text.splitlines() if line.startswith("Requires-Dist: torch") and "extra" not in line]
