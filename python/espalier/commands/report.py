"""`espalier report`: a study as one page."""

from __future__ import annotations

from pathlib import Path

from espalier.core.files import write_atomically

from .output import Outcome


def run(study: Path, output: Path, storage: str | None = None) -> Outcome:
    """Write the page."""
    from espalier.report.page import page
    from espalier.tuning.nas.finished import read_study

    text = page(read_study(study, storage), str(study)).encode()
    write_atomically(output, text)
    line = f"{output}: {len(text) / 1e3:.0f} kB, one file that needs nothing else"
    return Outcome({"report": str(output), "bytes": len(text)}, (line,))
