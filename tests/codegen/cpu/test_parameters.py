"""Constants outside of the library: the same bits, from files that hold each parameter once and in few bytes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from oracles.graphs import Graph, random_calibration
from oracles.integer_networks import gated_network, residual_network
from oracles.networks import plain, residual
from tvm import relax

import espalier
from espalier.codegen.container.weight_container import decode
from espalier.codegen.cpu.generate import generate
from espalier.codegen.cpu.packing import digest_of, pack, packing, recorded
from espalier.codegen.cpu.parameters import OTHER, Parameters
from espalier.codegen.cpu.program import DESCRIPTION, LIBRARY, WEIGHTS
from espalier.core.artifact import MANIFEST
from espalier.core.errors import CorruptArtifactError
from espalier.core.files import sha256_of
from espalier.core.plan import Plan
from espalier.targets.resolve import resolve_target

DENSE, SPARSE = Plan(), Plan(sparsity=0.8)
NETWORKS = {
    "blocks, Winograd, zeros": lambda: (plain(channels=32), SPARSE),
    "gates, planes, pairs of bfloat16": lambda: (residual(), Plan(density=0.5, weights="bfloat16")),
}


def built(mod, plan: Plan = DENSE, **options):
    calibration = random_calibration(mod, plan) if plan.density < 1 else None
    return espalier.build(mod, plan=plan, calibration=calibration, **options)


def input_of(artifact) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(artifact.inputs[0].shape).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A compressed artifact on disk."""
    folder = tmp_path_factory.mktemp("compressed") / "out"
    built(plain(channels=32), SPARSE, compress=True).save(folder)
    return folder


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_the_same_bits_before_and_after_loading(name, tmp_path):
    expected, compressed = built(*NETWORKS[name]()), built(*NETWORKS[name](), compress=True)
    x = input_of(expected)
    np.testing.assert_array_equal(compressed(x), expected(x))
    compressed.save(tmp_path / "out")
    np.testing.assert_array_equal(espalier.load(tmp_path / "out")(x), expected(x))


@pytest.mark.parametrize(
    "mod", [residual_network(16), gated_network(32, 16, "output", True)], ids=["taps and codes", "gates"]
)
def test_integers_are_stored_as_the_network_has_them(mod):
    shape = tuple(map(int, mod["main"].params[0].ty.shape))
    x, target = np.random.default_rng(0).uniform(-1, 4, shape).astype(np.float32), resolve_target("llvm")
    expected, compressed = (generate(mod, target, compress=one) for one in (False, True))
    assert not [name for name in compressed.parameters.arrays if name.endswith(OTHER)]
    again = Parameters(decode(compressed.container.content), compressed.parameters.recipes)
    loaded = dataclasses.replace(compressed, parameters=again)
    np.testing.assert_array_equal(loaded.run([x])[0], expected.run([x])[0])


def test_reference_bodies_too(tmp_path):
    expected, compressed = (built(plain(), Plan(density=0.5), lower=False, compress=one) for one in (False, True))
    np.testing.assert_array_equal(compressed(input_of(expected)), expected(input_of(expected)))


def test_a_constant_that_is_returned():
    g = Graph(1, 3, 8, 8)
    compressed = built(
        g.module(g.head(g.conv(g.x, "conv0", 8)), relax.const(np.arange(3, dtype=np.float32))), compress=True
    )
    first = compressed(input_of(compressed))[1]
    first[:] = 7  # the caller's own
    np.testing.assert_array_equal(compressed(input_of(compressed))[1], [0, 1, 2])


def test_only_parameters_as_the_network_has_them_are_stored(folder):
    stored = decode((folder / WEIGHTS).read_bytes())
    assert {name for name in stored if name.endswith("/weight")} == {
        f"{n}/weight" for n in ("conv0", "conv1", "conv2", "fc")
    }
    assert stored["conv1/weight"].shape == (32, 32, 3, 3)  # not what Winograd's transforms make of it
    assert (stored["conv1/weight"] == 0).sum() == int(0.8 * 9216)
    assert sum(array.size for array in stored.values()) == 32 * 27 + 2 * 9216 + 3 * 32 + 160 + 5


def test_constants_are_not_in_the_library(folder, tmp_path):
    built(plain(channels=32), SPARSE).save(tmp_path / "plain")
    whole, code = ((one / LIBRARY).stat().st_size for one in (tmp_path / "plain", folder))
    assert whole - code > 2 * 4 * 9216 * 16 / 9  # two weights as Winograd's transforms have them
    weight = decode((folder / WEIGHTS).read_bytes())["conv2/weight"]
    kept = weight[weight != 0][:1].tobytes()
    assert kept not in (folder / LIBRARY).read_bytes()


def test_sizes_are_those_of_the_files(folder):
    size = espalier.load(folder).program.sizes()
    assert size.container_bytes == (folder / WEIGHTS).stat().st_size
    assert size.code_bytes == (folder / LIBRARY).stat().st_size
    assert size.dense_bytes == 4 * sum(array.size for array in decode((folder / WEIGHTS).read_bytes()).values())
    conv1 = next(one for one in size.layers if one.name == "conv1")
    assert (conv1.zeros, conv1.bits, conv1.by_format) == (int(0.8 * 9216), 32, 0)
    assert conv1.by_pruning == 4 * conv1.zeros - 9216 / 8
    assert conv1.by_pruning + conv1.by_coding == pytest.approx(conv1.dense_bytes - conv1.coded_bytes)
    assert built(plain()).program.sizes() is None


def test_a_compressed_artifact_profiles(folder):
    artifact = espalier.load(folder)
    measured = artifact.profile(input_of(artifact), repeats=1)
    assert all(one.latency_s > 0 for one in measured.layers)


def resealed(folder: Path, name: str, content: bytes, target: Path) -> Path:
    """A copy of an artifact with another file in it, whose checksum the manifest has."""
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    (target / name).write_bytes(content)
    manifest = json.loads((target / MANIFEST).read_text())
    manifest["files"][name] = sha256_of(target / name)
    (target / MANIFEST).write_text(json.dumps(manifest))
    return target


@pytest.mark.parametrize("cut", [0, 3, 10, -1])
def test_damaged_weights(folder, tmp_path, cut):
    content = (folder / WEIGHTS).read_bytes()[:cut]
    with pytest.raises(CorruptArtifactError, match="compile the model again"):
        espalier.load(resealed(folder, WEIGHTS, content, tmp_path / "out"))


def test_a_packing_that_is_not_known(folder, tmp_path):
    description = json.loads((folder / DESCRIPTION).read_text())
    description["parameters"][0] = ["pack_by_magic", "conv0/weight", 3]
    changed = resealed(folder, DESCRIPTION, json.dumps(description).encode(), tmp_path / "out")
    with pytest.raises(CorruptArtifactError, match="pack_by_magic"):
        espalier.load(changed)


@packing
def sum_of_copies(one, other, times):
    return np.repeat(one, times) + other


def test_a_recipe_leads_back_to_the_parameters():
    weight, bias = np.arange(3.0), np.arange(6.0)
    names = {digest_of(weight): "fc/weight", digest_of(bias): "fc/bias"}
    with recorded() as packings:
        packed = sum_of_copies(sum_of_copies(weight, bias, 2), np.float64([7]), 3)
        known = sum_of_copies(sum_of_copies(weight, bias, 2), bias[:1] + 1, 3)
    assert packings.recipe(digest_of(packed), names) is None  # the 7 is no parameter
    recipe = packings.recipe(digest_of(known), names | {digest_of(bias[:1] + 1): "fc/one"})
    assert recipe == ["sum_of_copies", ["sum_of_copies", "fc/weight", "fc/bias", 2], "fc/one", 3]
    given = {"fc/weight": weight, "fc/bias": bias, "fc/one": bias[:1] + 1}
    np.testing.assert_array_equal(pack(recipe, given), known)
