"""CIFAR-10, from the standard archive or from sheets of lossless WebP.

Looked for in the data folder and in its sub-folder cifar10: `cifar-10-batches-py/`,
`cifar-10-python.tar.gz`, `cifar10_test.npz` and `cifar10_train.npz`.

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

from espalier.frontend.bundled import normalise

from . import data_folder

__all__ = ["load_test", "load_train", "normalise"]

BATCHES = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = ("test_batch",)


def load_test() -> tuple[np.ndarray, np.ndarray]:
    """The test set: images uint8 [10000, 32, 32, 3], labels uint8 [10000]."""
    return _load(TEST, "cifar10_test.npz", None)


def load_train(limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The first `limit` of 50,000 training images: uint8 [N, 32, 32, 3], labels uint8 [N]."""
    return _load(TRAIN, "cifar10_train.npz", limit)


def _load(batches, npz_name: str, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    for folder in (data_folder(), data_folder() / "cifar10"):
        if (folder / BATCHES).is_dir():
            return _join(((folder / BATCHES / name).read_bytes() for name in batches), limit)
        if (folder / ARCHIVE).is_file():
            return _join(_members(folder / ARCHIVE, batches), limit)
        if (folder / npz_name).is_file():
            return _read_webp(folder / npz_name, limit)
    raise FileNotFoundError(
        f"CIFAR-10: none of {BATCHES}/, {ARCHIVE}, {npz_name} is in {data_folder()}; "
        "set ESPALIER_DATA to the folder that holds one of them"
    )


def _members(archive: Path, batches) -> Iterator[bytes]:
    with tarfile.open(archive) as tar:
        for name in batches:
            yield tar.extractfile(f"{BATCHES}/{name}").read()


def _join(pickles: Iterator[bytes], limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The standard archive's pickles: rows of 3072 bytes, channel first."""
    batches = [pickle.loads(data, encoding="latin1") for data in pickles]
    images = np.concatenate([batch["data"] for batch in batches])[:limit]
    labels = np.concatenate([batch["labels"] for batch in batches])[:limit]
    return np.ascontiguousarray(images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels.astype(np.uint8)


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
        raise ModuleNotFoundError("reading CIFAR-10 from WebP needs Pillow: pip install pillow") from None
    Image.MAX_IMAGE_PIXELS = None
    sheet = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return sheet.reshape(100, 32, 100, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
