"""CIFAR-10, from the standard archive or from sheets of lossless WebP.

Looked for in a folder and in its sub-folder cifar10: `cifar-10-batches-py/`, `cifar-10-python.tar.gz`,
`cifar10_test.npz` and `cifar10_train.npz`.

References
    Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, 2009.
"""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..core.errors import InvalidInputError, ToolNotFoundError

BATCHES = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = ("test_batch",)
CLASSES = 10


def load_test(path) -> tuple[np.ndarray, np.ndarray]:
    """The test set: images uint8 [10000, 32, 32, 3], labels uint8 [10000].

    path: the archive, or a folder with one of the accepted forms.
    Raises InvalidInputError for data that is missing, damaged or has labels out of range, ToolNotFoundError for
    WebP sheets without Pillow.
    """
    return _load(Path(path), TEST, "cifar10_test.npz", None)


def load_train(path, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The first `limit` of 50,000 training images: uint8 [N, 32, 32, 3], labels uint8 [N]; see `load_test`."""
    return _load(Path(path), TRAIN, "cifar10_train.npz", limit)


def check_labels(images: np.ndarray, labels: np.ndarray, classes: int = CLASSES) -> None:
    """Raise InvalidInputError unless there is one label in 0 .. classes - 1 for each image."""
    if len(images) != len(labels):
        raise InvalidInputError(f"data: {len(images)} images have {len(labels)} labels, accepted is one for each")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InvalidInputError(
            f"data: labels are in {labels.min()} .. {labels.max()}, accepted are 0 .. {classes - 1}"
        )


def _load(path: Path, batches, npz_name: str, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    source = _source(path, npz_name)
    try:
        images, labels = _read(source, batches, limit)
    except ToolNotFoundError:
        raise
    except Exception as error:  # a damaged archive raises nearly anything
        raise InvalidInputError(f"CIFAR-10: {source} is damaged ({type(error).__name__})") from None
    check_labels(images, labels)
    return images, labels.astype(np.uint8)


def _source(path: Path, npz_name: str) -> Path:
    if path.is_file() and path.suffix != ".npz":
        return path
    for folder in (path, path / "cifar10"):
        for name in (BATCHES, ARCHIVE, npz_name):
            if (folder / name).exists():
                return folder / name
    raise InvalidInputError(f"CIFAR-10: none of {BATCHES}/, {ARCHIVE}, {npz_name} is in {path}")


def _read(source: Path, batches, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    if source.is_dir():
        return _join(((source / name).read_bytes() for name in batches), limit)
    if source.suffix == ".npz":
        return _read_webp(source, limit)
    return _join(_members(source, batches), limit)


def _members(archive: Path, batches) -> Iterator[bytes]:
    with tarfile.open(archive) as tar:
        for name in batches:
            yield tar.extractfile(f"{BATCHES}/{name}").read()


def _join(pickles: Iterator[bytes], limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The standard archive's pickles: rows of 3072 bytes, channel first."""
    batches = [pickle.loads(data, encoding="latin1") for data in pickles]
    images = np.concatenate([batch["data"] for batch in batches])[:limit]
    labels = np.concatenate([batch["labels"] for batch in batches])[:limit]
    return np.ascontiguousarray(images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


def _read_webp(path: Path, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Sheets of 100 x 100 images; only as many are decoded as `limit` needs."""
    with np.load(path) as stored:
        labels = stored["labels"][:limit]
        count = -(-len(labels) // 10_000)
        images = np.concatenate([_decode_sheet(stored[f"webp{i}"].tobytes()) for i in range(count)])
    return images[: len(labels)], labels


def _decode_sheet(data: bytes) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError:
        raise ToolNotFoundError(
            'reading CIFAR-10 from WebP needs Pillow; install it with: pip install "espalier[training]"'
        ) from None
    Image.MAX_IMAGE_PIXELS = None
    sheet = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return sheet.reshape(100, 32, 100, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
