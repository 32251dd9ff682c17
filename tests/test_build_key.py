"""Whatever a build depends on changes its key, and nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tvm
from oracles.graphs import Graph, random_calibration
from oracles.networks import plain
from oracles.records import records
from tvm import relax

from espalier import build_key as keys
from espalier.core.calibration import Calibration, LayerWeights
from espalier.core.plan import Plan
from espalier.core.records import RecordedTimes
from espalier.targets.resolve import resolve_target

HALF = Plan(density=0.5)


def key(mod=None, target="llvm", plan=HALF, calibration=None, lower=True, times=None, compress=False) -> str:
    """The key of a build of the plain network unless another is given."""
    calibration = calibration or random_calibration(plain(), HALF)
    return keys.build_key(mod or plain(), resolve_target(target), plan, calibration, lower, times, compress)


def heavier() -> Calibration:
    weights = {"conv0": LayerWeights(np.zeros((16, 3, 3, 3), np.float32), np.zeros(16, np.float32))}
    return Calibration(random_calibration(plain(), HALF).gates, weights)


OTHERS = {
    "a weight": lambda: {"mod": plain(seed=1)},
    "the batch": lambda: {"mod": plain(batch=2)},
    "the output's name": lambda: {"mod": plain().with_attr("espalier.output_names", ["y"])},
    "a plan": lambda: {"plan": Plan(density=0.75)},
    "a layer's plan": lambda: {"plan": Plan(density=0.5, layers={"conv1": {"density": 1.0}})},
    "a target": lambda: {"target": {"kind": "llvm", "num-cores": 7}},
    "a gate's weight": lambda: {"calibration": random_calibration(plain(), HALF, seed=1)},
    "a gate's mode": lambda: {"calibration": random_calibration(plain(), HALF, "boost")},
    "a fitted weight": lambda: {"calibration": heavier()},
    "lower": lambda: {"lower": False},
    "records": lambda: {"times": RecordedTimes.of([], "r.db")},
    "compress": lambda: {"compress": True},
}


def test_equal_inputs_have_equal_keys_in_every_process():
    code, folder = "import test_build_key; print(test_build_key.key())", str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": folder}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [key()] == [key()]


@pytest.mark.parametrize("changed", OTHERS)
def test_another_input_has_another_key(changed):
    assert key(**OTHERS[changed]()) != key()


def test_other_records_have_another_key():
    seen = {key(times=RecordedTimes.of(records(count), source)) for count, source in ((3, "a"), (3, "b"), (4, "a"))}
    assert len(seen) == 3
    assert key(times=RecordedTimes.of(records(3), "a")) in seen


def test_names_that_differ_in_a_dot_are_different():
    """TVM's text of a module has an underscore for either."""
    mods = [g.module(g.head(g.conv(g.x, name, 16))) for name in ("a.b", "a_b") if (g := Graph(1, 3, 8, 8))]
    assert mods[0].script() == mods[1].script()
    assert key(mods[0]) != key(mods[1])


def test_numbers_that_differ_in_the_last_digit_are_different():
    slopes = (0.1, 0.1 + 1e-16)
    mods = [g.module(g.emit(relax.op.nn.leakyrelu(g.x, slope))) for slope in slopes if (g := Graph(1, 3, 8, 8))]
    assert key(mods[0]) != key(mods[1])


@pytest.mark.parametrize("dtype", ["bool", "int32", "float16", "bfloat16", "float32"])
@pytest.mark.parametrize("shape", [(), (3,), (0, 2)])
def test_constants_of_every_type_and_shape(dtype, shape):
    def with_constant(value):
        g = Graph(2)
        constant = relax.const(np.full(shape, value).astype(np.float32), "float32")
        return g.module(g.x, g.emit(relax.op.astype(constant, dtype)))

    folded = [relax.transform.FoldConstant()(with_constant(value)) for value in (0, 1)]
    assert (key(folded[0]) == key(folded[1])) == (0 in shape)


def test_tvms_pass_context_counts():
    seen = {key()}
    for given in ({"opt_level": 1}, {"config": {"tirx.disable_vectorize": True}}, {"disabled_pass": ["FuseOps"]}):
        with tvm.transform.PassContext(**given):
            seen.add(key())
    assert len(seen) == 4


def test_other_sources_have_other_keys(monkeypatch, tmp_path):
    before = key()
    monkeypatch.setattr(keys, "SOURCES", "edited")
    assert key() != before
    (tmp_path / "a.py").write_text("one")
    seen = [keys.sources_digest([tmp_path])]
    for name, content in (("b.cu", ""), ("a.py", "two"), ("b.cu", "three")):
        (tmp_path / name).write_text(content)
        seen.append(keys.sources_digest([tmp_path]))
    assert len(set(seen)) == 4
    (tmp_path / "a.pyc").write_text("compiled")
    assert keys.sources_digest([tmp_path]) == seen[-1]


def test_large_programs_and_watched_builds_are_not_kept():
    assert keys.may_be_kept(plain(), 100_000)
    assert not keys.may_be_kept(plain(), 10_000)

    @tvm.ir.instrument.pass_instrument
    class Watch:
        pass

    with tvm.transform.PassContext(instruments=[Watch()]):
        assert not keys.may_be_kept(plain(), 100_000)
