"""Where what was compiled before is kept."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

VARIABLE, OFF = "ESPALIER_CACHE", "off"


def cache_folder() -> Path | None:
    """$ESPALIER_CACHE, else $XDG_CACHE_HOME/espalier, else ~/.cache/espalier; None if it is "off" or there is none."""
    named = os.environ.get(VARIABLE, "")
    if named == OFF:
        return None
    folder = Path(named or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "espalier")
    with contextlib.suppress(RuntimeError):  # somebody without a home
        return folder.expanduser().absolute()
    return None
