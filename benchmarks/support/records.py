"""Measured results on disk, each with all that is needed to judge and to repeat it."""

from __future__ import annotations

import datetime
import json
import platform
import socket
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import psutil

from espalier.core.files import write_atomically

from . import REPOSITORY, data_folder

FOLDER = REPOSITORY / "benchmarks" / "records"
PACKAGES = (
    "espalier",
    "apache-tvm",
    "apache-tvm-ffi",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "torch",
    "xgboost",
)
FLAGS = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


def write_record(name: str, results, folder: Path = FOLDER) -> Path:
    """Write `<folder>/<name>.json`, whole or not at all, and return its path.

    results: JSON-able values. Raises ValueError if the record would give away a path or the host's name.
    """
    record = {
        "command": command(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "versions": versions(),
        "machine": machine(),
        "results": results,
    }
    text = json.dumps(record, indent=2) + "\n"
    for private in (str(REPOSITORY), str(data_folder()), str(Path.home()) + "/", socket.gethostname()):
        if f'"{private}' in text:
            raise ValueError(f"record {name}: holds {private!r}, which has no meaning elsewhere")
    path = folder / f"{name}.json"
    write_atomically(path, text.encode())
    return path


def merged_rows(name: str, rows: list[dict], keys: Sequence[str], folder: Path = FOLDER) -> list[dict]:
    """The rows of a record that stands, with these in the place of those that have the same values under `keys`."""
    path = folder / f"{name}.json"
    known = json.loads(path.read_text())["results"] if path.exists() else []
    merged = {json.dumps([row[key] for key in keys]): row for row in (*known, *rows)}
    return list(merged.values())


def command() -> str:
    """The command line that runs now, with paths relative to the repository."""
    script = Path(sys.argv[0]).resolve()
    shown = script.relative_to(REPOSITORY).as_posix() if script.is_relative_to(REPOSITORY) else script.name
    arguments = [Path(a).name if Path(a).is_absolute() else a for a in sys.argv[1:]]
    return " ".join(["python", shown, *arguments])


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict:
    """CPU model, cores, instruction sets and memory."""
    info = _cpu_info()
    return {
        "cpu": info.get("model name", platform.machine()),
        "architecture": platform.machine(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in info.get("flags", "").split()],
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def _cpu_info() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    lines = path.read_text().split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
