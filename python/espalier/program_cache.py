"""Artifacts that were built before, on disk: a folder for each, named by the key of its build.

Several processes may read and write at once, and any of them may be killed: an entry appears whole under its name,
and what does not match its checksums is no entry. Where nothing can be written or linked, nothing is kept; the cache
is never a reason for a build to fail.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .codegen.load import load_artifact
from .core.artifact import MANIFEST, Artifact
from .core.cache_folder import cache_folder
from .core.errors import EspalierError
from .core.files import sha256_of

LIMIT_BYTES = 2 << 30
"""About forty times ResNet-18, whose program has 47 MB."""
LARGEST_SHARE = 8
"""A program may take up one eighth, 256 MiB: linking grows with the constants (VGG-16's 550 MB take as long as the
whole compiler does), and a few such programs would leave no room for any other."""
SEAL = "manifest.sha256"
ABANDONED_S = 3600.0
"""Seconds after which what a killed process left behind is removed."""


@dataclass(frozen=True)
class ProgramCache:
    """A folder of artifacts. limit_bytes: of all entries together; the least recently used goes first."""

    folder: Path
    limit_bytes: int = LIMIT_BYTES

    @property
    def largest_bytes(self) -> int:
        """The size of the largest program that is kept."""
        return self.limit_bytes // LARGEST_SHARE

    def artifact(self, key: str, make: Callable[[], Artifact]) -> Artifact:
        """What `make` returned for this key before, else what it returns now, which is kept."""
        known = self._read(key)
        if known is not None:
            return known
        fresh = make()
        with contextlib.suppress(EspalierError, OSError):
            self._write(key, fresh)
        return self._read(key) or fresh  # so that it is linked once, and its code is not generated again to run it

    def usage(self) -> tuple[int, int]:
        """Number of entries and bytes of all of them."""
        sizes = [_size(entry) for entry in self._entries()]
        return len(sizes), sum(sizes)

    def _read(self, key: str) -> Artifact | None:
        entry = self.folder / key
        try:
            if (entry / SEAL).read_text() != sha256_of(entry / MANIFEST):
                return None
            artifact = load_artifact(entry)
        except (EspalierError, OSError, ValueError):
            return None
        with contextlib.suppress(OSError):
            os.utime(entry)
        return artifact

    def _write(self, key: str, artifact: Artifact) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # what lies there is run: nobody else may write
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".", ignore_cleanup_errors=True) as temporary:
            fresh, entry = Path(temporary) / "new", self.folder / key
            artifact.save(fresh)
            (fresh / SEAL).write_text(sha256_of(fresh / MANIFEST))
            if _size(fresh) > self.largest_bytes:
                return
            if entry.exists():
                entry.rename(Path(temporary) / "old")
            fresh.rename(entry)
        self._make_room()

    def _make_room(self) -> None:
        """Remove the entries that were used longest ago, as many as are over the limit, and abandoned folders."""
        ages = sorted((entry.stat().st_mtime, entry) for entry in self._entries())
        left = self.usage()[1]
        for _, entry in ages:
            if left <= self.limit_bytes:
                break
            left -= _size(entry)
            _remove(entry)
        for path in self.folder.glob(".*"):
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)

    def _entries(self) -> list[Path]:
        return [path for path in self.folder.glob("[0-9a-f]*") if path.is_dir()]


def program_cache() -> ProgramCache | None:
    """The cache in `cache_folder`; None if that is off."""
    folder = cache_folder()
    return folder and ProgramCache(folder)


def _remove(entry: Path) -> None:
    """Rename, then remove, so that nobody finds half of it."""
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".", ignore_cleanup_errors=True) as temporary:
        entry.rename(Path(temporary) / "old")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
