"""What the benchmarks rely on: data in every accepted form, records that give nothing away."""

from __future__ import annotations

import io
import json
import pickle
import sys
import tarfile

import numpy as np
import pytest
from support import REPOSITORY, cifar10, networks, records

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
LABELS = list(range(10)) * 2


def batch(images: np.ndarray, labels: list[int]) -> bytes:
    """A batch as the standard archive has it."""
    rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), 3072)
    return pickle.dumps({"data": rows, "labels": labels})


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder that the benchmarks will look into."""
    monkeypatch.setenv("ESPALIER_DATA", str(tmp_path))
    return tmp_path


def test_cifar10_from_the_folder(data):
    (data / cifar10.BATCHES).mkdir()
    for i, name in enumerate(cifar10.TRAIN):
        (data / cifar10.BATCHES / name).write_bytes(batch(IMAGES[4 * i : 4 * i + 4], LABELS[4 * i : 4 * i + 4]))
    images, labels = cifar10.load_train(limit=17)
    np.testing.assert_array_equal(images, IMAGES[:17])
    np.testing.assert_array_equal(labels, np.array(LABELS[:17], np.uint8), strict=True)


def test_cifar10_from_the_archive(data):
    (data / "cifar10").mkdir()
    with tarfile.open(data / "cifar10" / cifar10.ARCHIVE, "w:gz") as tar:
        content = batch(IMAGES, LABELS)
        member = tarfile.TarInfo(f"{cifar10.BATCHES}/test_batch")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    images, labels = cifar10.load_test()
    np.testing.assert_array_equal(images, IMAGES)
    assert labels.tolist() == LABELS


def test_missing_data_names_what_is_accepted(data):
    with pytest.raises(FileNotFoundError, match="none of cifar-10-batches-py/, .* set ESPALIER_DATA"):
        cifar10.load_test()


def test_webp_without_pillow_names_the_install_line(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    np.savez(data / "cifar10_test.npz", webp0=np.zeros(4, np.uint8), labels=np.zeros(10, np.uint8))
    with pytest.raises(ModuleNotFoundError, match="pip install pillow"):
        cifar10.load_test()


def test_a_record_can_be_repeated(tmp_path, monkeypatch):
    script = REPOSITORY / "benchmarks" / "bench_density.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--model", str(tmp_path / "model.onnx"), "--rounds", "3"])
    path = records.write_record("density", {"speed_up": 3.9}, tmp_path)
    record = json.loads(path.read_text())
    assert record["command"] == "python benchmarks/bench_density.py --model model.onnx --rounds 3"
    assert record["results"] == {"speed_up": 3.9}
    assert record["versions"]["apache-tvm"] == "0.27.0.post1"
    assert record["machine"]["logical_cores"] >= 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["density.json"]


def test_a_record_holds_no_path(tmp_path):
    with pytest.raises(ValueError, match="has no meaning elsewhere"):
        records.write_record("density", {"model": str(REPOSITORY / "model.onnx")}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_resnet18_depends_on_its_seed_only():
    torch = pytest.importorskip("torch")
    before = torch.random.get_rng_state()
    one, same, other = (networks.resnet18(seed).conv1.weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (56, 853_018)])
def test_cifar_resnets_have_their_size(depth, parameters):
    assert sum(p.numel() for p in networks.CifarResNet(depth).parameters()) == parameters
