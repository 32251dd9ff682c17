"""What was built before is taken from disk; whatever is wrong with the disk, a build gives the right program."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tvm
from oracles.graphs import random_calibration
from oracles.networks import plain
from tvm.support import cc

import espalier
from espalier import program_cache as caches
from espalier.core.cache_folder import VARIABLE
from espalier.core.plan import Plan
from espalier.program_cache import ProgramCache, program_cache
from espalier.relay_library import Library

X = np.random.default_rng(0).standard_normal((1, 3, 8, 8), np.float32)
HALF = Plan(density=0.5)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache of this test's own."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def gated():
    return espalier.build(plain(), "llvm", HALF, random_calibration(plain(), HALF))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(compiled without a cache, compiled with one, taken from it, its entry); from it on, saving is copying."""
    folder = tmp_path_factory.mktemp("cache")
    plainly = gated()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(folder))
        first = gated()
        patch.setattr(sys.modules["espalier.build"], "generate", None)
        second = gated()
    (entry,) = folder.iterdir()
    return plainly, first, second, entry


def entries(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("[!.]*"))


class Maker:
    """Gives an artifact and counts how often it was asked for it."""

    def __init__(self, artifact):
        self.artifact, self.calls = artifact, 0

    def __call__(self):
        self.calls += 1
        return self.artifact


def test_what_comes_from_the_cache_is_the_same(built):
    plainly, *cached, _ = built
    for artifact in cached:
        np.testing.assert_array_equal(artifact(X), plainly(X))
        for part in ("inputs", "outputs", "target", "plan", "layers", "report"):
            assert getattr(artifact, part) == getattr(plainly, part)
        assert artifact.program.kernel_layers == plainly.program.kernel_layers
        assert artifact.program.isa == plainly.program.isa
        assert [one.layer.name for one in artifact.profile(X, repeats=1).layers] == ["conv0", "conv1", "conv2", "fc"]


def test_it_can_be_saved_and_exported_when_its_entry_is_gone(built, tmp_path):
    cache = ProgramCache(tmp_path / "cache")
    cached = cache.artifact("a", Maker(built[2]))
    shutil.rmtree(cache.folder)
    cached.save(tmp_path / "saved")
    Library(cached).export_library(tmp_path / "lib.so")
    np.testing.assert_array_equal(espalier.load(tmp_path / "saved")(X), built[0](X))
    assert tvm.runtime.load_module(str(tmp_path / "lib.so")).artifact.layers == cached.layers


def test_artifacts_of_one_entry_do_not_share_a_fate(built, tmp_path):
    cache = ProgramCache(tmp_path / "cache")
    kept, dropped = (cache.artifact("a", Maker(built[2])) for _ in range(2))
    expected = kept(X)
    dropped(X)
    del dropped
    np.testing.assert_array_equal(kept(X), expected)


@pytest.mark.parametrize("name", ["program.so", "program.json", "artifact.json", caches.SEAL])
@pytest.mark.parametrize("harm", ["one bit", "cut", "missing", "a folder"])
def test_a_damaged_entry_is_replaced(name, harm, built, tmp_path):
    cache, make = ProgramCache(tmp_path / "cache"), Maker(built[2])
    cache.artifact("a", make)
    file = cache.folder / "a" / name
    content = bytearray(file.read_bytes())
    file.unlink()  # programs that run keep the old content
    if harm == "one bit":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif harm == "cut":
        file.write_bytes(content[:10])
    elif harm == "a folder":
        file.mkdir()
    for _ in range(2):
        np.testing.assert_array_equal(cache.artifact("a", make)(X), built[0](X))
        assert make.calls == 2
    assert entries(cache.folder) == ["a"]


def test_the_least_recently_used_goes_first(built, tmp_path):
    make, first = Maker(built[2]), ProgramCache(tmp_path / "first")
    first.artifact("a", make)
    size = first.usage()[1]
    cache = ProgramCache(tmp_path / "cache", limit_bytes=8 * size + size // 2)
    names = [f"{number}" for number in range(8)]
    for number, name in enumerate(names):
        cache.artifact(name, make)
        os.utime(cache.folder / name, (number, number))
    cache.artifact("0", make)
    cache.artifact("9", make)
    assert entries(cache.folder) == ["0", *names[2:], "9"]
    assert cache.usage() == (8, 8 * size)


def test_what_takes_more_than_its_share_is_not_kept(built, tmp_path):
    size = sum(path.stat().st_size for path in built[3].iterdir())
    for largest, kept in ((size - 1, []), (size, ["a"])):
        cache = ProgramCache(tmp_path / "cache", limit_bytes=largest * caches.LARGEST_SHARE)
        np.testing.assert_array_equal(cache.artifact("a", Maker(built[2]))(X), built[0](X))
        assert entries(cache.folder) == kept


def test_what_killed_processes_left_is_removed(built, tmp_path):
    cache = ProgramCache(tmp_path / "cache")
    for name in (".killed", ".working"):
        (cache.folder / name).mkdir(parents=True)
    old = time.time() - caches.ABANDONED_S - 1
    os.utime(cache.folder / ".killed", (old, old))
    cache.artifact("a", Maker(built[2]))
    assert [path.name for path in cache.folder.glob(".*")] == [".working"]


@pytest.mark.parametrize("place", ["below a file", "a file", "read-only"])
def test_where_nothing_can_be_written_nothing_is_kept(place, built, tmp_path):
    (tmp_path / "file").write_text("mine")
    places = {"below a file": tmp_path / "file" / "cache", "a file": tmp_path / "file"}
    make = Maker(built[2])
    for number in (1, 2):
        artifact = ProgramCache(places.get(place, Path("/proc/nowhere"))).artifact("a", make)
        assert artifact is built[2]
        assert make.calls == number
    assert (tmp_path / "file").read_text() == "mine"


def test_off_and_where_it_is(monkeypatch, tmp_path):
    assert program_cache() is None  # as for every other test
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert program_cache().folder == tmp_path / "xdg" / "espalier"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert program_cache().folder == tmp_path / ".cache" / "espalier"
    monkeypatch.setenv(VARIABLE, "~/mine")
    assert program_cache().folder == tmp_path / "mine"


def test_off_and_too_large_write_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gated()
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(ProgramCache, "largest_bytes", 1000)
    gated()
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_nothing_is_kept(folder, monkeypatch):
    monkeypatch.setattr(cc, "get_cc", lambda: None)
    assert np.isfinite(gated()(X)).all()
    assert not entries(folder)


def test_several_processes_may_build_the_same_at_once(folder, built):
    code = (
        "import espalier, numpy as np; from oracles.networks import plain\n"
        "x = np.random.default_rng(0).standard_normal((1, 3, 8, 8), np.float32)\n"
        "for seed in (0, 1, 0): print(espalier.build(plain(seed=seed))(x).tobytes().hex())"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [one.communicate()[0] for one in running]
    assert [one.returncode for one in running] == [0, 0]
    assert outputs[0] == outputs[1]
    assert len(entries(folder)) == 2
    assert not list(folder.glob(".*"))
