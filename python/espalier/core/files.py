"""Reading and writing files so that nothing half-written is ever left behind."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .errors import InvalidInputError


def read_text(path, what: str) -> str:
    """The text of a file; InvalidInputError says which `what` could not be read and why."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{what} {path}: cannot be read ({_reason(error)})") from None


def read_arrays(path, what: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, or the one of an .npy file under the name "".

    Raises InvalidInputError, which says which `what` could not be read and why.
    """
    try:
        with open(path, "rb") as file:
            stored = np.load(file, allow_pickle=False)
            return {"": stored} if isinstance(stored, np.ndarray) else {name: stored[name] for name in stored.files}
    except Exception as error:  # a damaged archive raises nearly anything
        reason = getattr(error, "strerror", None) or "not an .npy or .npz file of arrays"
        raise InvalidInputError(f"{what} {path}: cannot be read ({reason})") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it into place.

    Raises InvalidInputError if it cannot be written there.
    """
    if path.is_dir():
        raise InvalidInputError(f"{path}: is a folder, accepted is a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written ({_reason(error)})") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def claimed(path: Path, waits: bool = False) -> Iterator[bool]:
    """Whether no other process holds the file `path`, which is made; held until the block or this process ends.

    waits: until that is so.
    Raises InvalidInputError if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written ({_reason(error)})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write texts to paths in a folder that nobody reads before it is whole; folders are made."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
