"""What the benchmarks share: data, networks, timing and records."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def data_folder() -> Path:
    """Where data sets and checkpoints lie: $ESPALIER_DATA, else ../shared/data next to the repository."""
    return Path(os.environ.get("ESPALIER_DATA") or REPOSITORY.parent / "shared" / "data")
