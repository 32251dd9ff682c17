"""espalier.training.cifar10: every accepted form, and every bad one in one line."""

import io
import pickle
import sys
import tarfile

import numpy as np
import pytest

from espalier.core.errors import InvalidInputError, ToolNotFoundError
from espalier.training import cifar10

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
LABELS = list(range(10)) * 2


def batch(images: np.ndarray, labels: list[int]) -> bytes:
    """A batch as the standard archive has it."""
    rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), 3072)
    return pickle.dumps({"data": rows, "labels": labels})


def archive(path, labels: list[int]) -> None:
    """The standard archive with a test batch only."""
    with tarfile.open(path, "w:gz") as tar:
        content = batch(IMAGES, labels)
        member = tarfile.TarInfo(f"{cifar10.BATCHES}/test_batch")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def test_the_standard_folder(tmp_path):
    (tmp_path / cifar10.BATCHES).mkdir()
    for i, name in enumerate(cifar10.TRAIN):
        (tmp_path / cifar10.BATCHES / name).write_bytes(batch(IMAGES[4 * i : 4 * i + 4], LABELS[4 * i : 4 * i + 4]))
    images, labels = cifar10.load_train(tmp_path, limit=17)
    np.testing.assert_array_equal(images, IMAGES[:17])
    np.testing.assert_array_equal(labels, np.array(LABELS[:17], np.uint8), strict=True)


def test_the_standard_archive(tmp_path):
    (tmp_path / "cifar10").mkdir()
    path = tmp_path / "cifar10" / cifar10.ARCHIVE
    archive(path, LABELS)
    for given in (path, tmp_path):
        images, labels = cifar10.load_test(given)
        np.testing.assert_array_equal(images, IMAGES)
        assert labels.tolist() == LABELS


def test_sheets_of_webp(tmp_path):
    image = pytest.importorskip("PIL.Image")
    sheet = np.zeros((3200, 3200, 3), np.uint8)
    sheet[:32, 32:64] = IMAGES[1]
    buffer = io.BytesIO()
    image.fromarray(sheet).save(buffer, "WEBP", lossless=True)
    labels = np.arange(10_000) % 10
    np.savez(tmp_path / "cifar10_test.npz", webp0=np.frombuffer(buffer.getvalue(), np.uint8), labels=labels)
    images, got = cifar10.load_test(tmp_path)
    np.testing.assert_array_equal(images[1], IMAGES[1])
    np.testing.assert_array_equal(got, labels)


def test_nothing_there(tmp_path):
    with pytest.raises(InvalidInputError, match="none of cifar-10-batches-py/, .* is in"):
        cifar10.load_test(tmp_path)


def test_a_truncated_archive(tmp_path):
    archive(tmp_path / cifar10.ARCHIVE, LABELS)
    content = (tmp_path / cifar10.ARCHIVE).read_bytes()
    (tmp_path / cifar10.ARCHIVE).write_bytes(content[: len(content) // 2])
    with pytest.raises(InvalidInputError, match="is damaged"):
        cifar10.load_test(tmp_path)


def test_labels_out_of_range(tmp_path):
    archive(tmp_path / cifar10.ARCHIVE, [*LABELS[:-1], 10])
    with pytest.raises(InvalidInputError, match=r"labels are in 0 \.\. 10, accepted are 0 \.\. 9"):
        cifar10.load_test(tmp_path)


def test_too_few_labels(tmp_path):
    archive(tmp_path / cifar10.ARCHIVE, LABELS[:-1])
    with pytest.raises(InvalidInputError, match="20 images have 19 labels"):
        cifar10.load_test(tmp_path)


def test_webp_without_pillow_names_the_install_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    np.savez(tmp_path / "cifar10_test.npz", webp0=np.zeros(4, np.uint8), labels=np.zeros(10, np.uint8))
    with pytest.raises(ToolNotFoundError, match=r"pip install .espalier\[training\]"):
        cifar10.load_test(tmp_path)
