"""CIFAR-10's standard archive with few images."""

from __future__ import annotations

import tarfile
from pathlib import Path

from training.test_cifar10 import IMAGES, LABELS, batch

from espalier.training import cifar10


def standard_archive(folder: Path) -> Path:
    """Written into the folder, with the same 20 images in every batch."""
    batches = folder / cifar10.BATCHES
    batches.mkdir()
    for name in (*cifar10.TRAIN, *cifar10.TEST):
        (batches / name).write_bytes(batch(IMAGES, LABELS))
    with tarfile.open(folder / cifar10.ARCHIVE, "w:gz") as tar:
        tar.add(batches, cifar10.BATCHES)
    return folder / cifar10.ARCHIVE
