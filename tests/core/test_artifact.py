"""Artifacts check their inputs, and they are saved whole or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.artifact import MANIFEST, VERSION, Artifact, TensorSpec, from_manifest, read_manifest
from espalier.core.errors import CorruptArtifactError, InvalidInputError
from espalier.core.layers import LayerRecord
from espalier.core.plan import Plan


@dataclass
class FakeProgram:
    """Adds and multiplies its two inputs; saves one file."""

    content: bytes = b"program"
    fails: bool = False
    runs: list = field(default_factory=list)

    def run(self, inputs):
        self.runs.append(inputs)
        return [inputs[0] + inputs[1], inputs[0] * inputs[1]]

    def save(self, folder: Path):
        (folder / "lib.so").write_bytes(self.content)
        if self.fails:
            raise OSError("disk full")


def artifact(**program) -> Artifact:
    x, y = (TensorSpec(name, (2, 3), "float32") for name in "xy")
    record = LayerRecord("conv0", "conv2d", 100, 60, 64, 32, 3, 3, 16, "branch")
    plan = Plan(density=0.5, layers={"conv0": {"density": 0.25}})
    return Artifact(FakeProgram(**program), (x, y), (x, y), {"kind": "llvm"}, plan, (record,), ("conv1: not gated",))


X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_inputs_by_position_by_name_and_by_mapping():
    art = artifact()
    for results in (art(X, X + 1), art(y=X + 1, x=X), art(X, y=X + 1), art({"x": X, "y": X + 1})):
        np.testing.assert_array_equal(results[0], 2 * X + 1)
        np.testing.assert_array_equal(results[1], X * (X + 1))


def test_strided_inputs_are_made_contiguous():
    art = artifact()
    art(np.asfortranarray(X), X)
    assert all(array.flags.c_contiguous for array in art.program.runs[0])


@pytest.mark.parametrize(
    ("args", "named", "message"),
    [
        ((X,), {}, "input y: missing, accepted are x float32"),
        ((X, X, X), {}, r"got 3 inputs, accepted are 2: x float32 \[2, 3\], y float32 \[2, 3\]"),
        ((X, X), {"y": X}, "input y: given twice"),
        ((X, X), {"z": X}, "input z: unknown"),
        ((X, X.T), {}, r"input y: got float32 \[3, 2\], accepted is float32 \[2, 3\]"),
        ((X.astype(np.float64), X), {}, r"input x: got float64 \[2, 3\], accepted is float32"),
    ],
)
def test_wrong_inputs(args, named, message):
    with pytest.raises(InvalidInputError, match=message):
        artifact()(*args, **named)


@given(st.lists(st.integers(0, 5), max_size=4).map(tuple), st.sampled_from(["float32", "int8", "uint8", "int64"]))
def test_a_spec_takes_exactly_its_shape_and_type(shape, dtype):
    spec = TensorSpec("x", (2, 3), "float32")
    array = np.zeros(shape, dtype)
    if (shape, dtype) == ((2, 3), "float32"):
        assert spec.check(array).shape == shape
    else:
        with pytest.raises(InvalidInputError, match="input x: got"):
            spec.check(array)


def test_a_spec_keeps_a_number_without_axes_and_orders_memory():
    assert TensorSpec("m", (), "float32").check(np.float32(2.5)).shape == ()
    turned = TensorSpec("x", (2, 3), "float32").check(np.ones((3, 2), np.float32).T)
    assert turned.flags.c_contiguous
    assert turned.shape == (2, 3)


def test_round_trip(tmp_path):
    art = artifact()
    art.save(tmp_path / "new" / "out")
    back = from_manifest(read_manifest(tmp_path / "new" / "out"), art.program)
    assert back == art
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["out"]


def test_saving_replaces_an_artifact(tmp_path):
    artifact().save(tmp_path / "out")
    artifact(content=b"second").save(tmp_path / "out")
    assert (tmp_path / "out" / "lib.so").read_bytes() == b"second"
    read_manifest(tmp_path / "out")


def test_saving_leaves_a_strange_folder_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(InvalidInputError, match="exists and is no saved artifact"):
        artifact().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_failed_save_changes_nothing(tmp_path):
    artifact().save(tmp_path / "out")
    with pytest.raises(InvalidInputError, match="disk full"):
        artifact(content=b"second", fails=True).save(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    read_manifest(tmp_path / "out")
    assert (tmp_path / "out" / "lib.so").read_bytes() == b"program"


@given(st.data())
def test_damage_is_found(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("artifact") / "out"
    artifact().save(folder)
    name = data.draw(st.sampled_from(["lib.so", MANIFEST]))
    content = (folder / name).read_bytes()
    end = len(content.rstrip()) - 1
    (folder / name).write_bytes(content[: data.draw(st.integers(0, end))])
    with pytest.raises(CorruptArtifactError, match="out"):
        read_manifest(folder)


def test_a_missing_file_and_another_version_are_named(tmp_path):
    artifact().save(tmp_path / "out")
    (tmp_path / "out" / "lib.so").unlink()
    with pytest.raises(CorruptArtifactError, match=r"lib\.so: missing or damaged"):
        read_manifest(tmp_path / "out")
    manifest = tmp_path / "out" / MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "espalier_artifact": 99}))
    with pytest.raises(CorruptArtifactError, match=f"version 99, accepted is {VERSION};"):
        read_manifest(tmp_path / "out")


def test_profile_asks_the_profiler():
    art = Artifact(FakeProgram(), (), (), {}, Plan(), profiler=lambda art, *args, **options: (args, options))
    assert art.profile(X, repeats=3) == ((X,), {"repeats": 3})
