"""What the emulated tests check, on a GPU, wherever there is one."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from oracles.graphs import planned
from oracles.integer_networks import gated_network, option_a_network, residual_network
from oracles.networks import NETWORKS, plain
from oracles.running import run_stock

import espalier
from espalier.codegen.cuda.generate import generate
from espalier.core.errors import UnsupportedTargetError
from espalier.core.plan import Plan
from espalier.measure.gpu_launches import launch_seconds
from espalier.targets.gpu import ARCHS, gpu_of
from espalier.targets.resolve import resolve_target
from espalier.tuning.tune import tune

pytestmark = pytest.mark.gpu
TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "tfloat32": 1e-2}
REAL = [
    ("plain", Plan()),
    ("residual", Plan(weights="float16")),
    ("concatenating", Plan(weights="tfloat32")),
    ("mobile", Plan(weights="float16", density=0.5, granularity=8)),
    ("residual", Plan(density=0.5, granularity=8, placement="sum")),
    ("unusual", Plan(weights="float16", density=0.5, granularity=8, placement="branch")),
]
QUANTIZED = {
    "residual": lambda: residual_network(17, 9),
    "without projection": lambda: option_a_network(16),
    "lists of 8": lambda: gated_network(16, 8, "output", True),
    "lists of 16": lambda: gated_network(32, 16, "branch", True),
}


def both(mod, runs: int = 3):
    """What the GPU gives, the last time after replays of the graph, and what the bodies give."""
    shape = tuple(map(int, mod["main"].params[0].ty.shape))
    x = np.random.default_rng(0).uniform(-1, 4, shape).astype(np.float32)
    program = generate(mod, resolve_target("cuda"))
    return [program.run([x])[0] for _ in range(runs)][-1], run_stock(mod, x)[0]


@pytest.mark.parametrize(("network", "plan"), REAL, ids=str)
def test_lowered_equals_body(network, plan):
    ours, theirs = both(planned(NETWORKS[network](channels=16, size=6, batch=2), plan, mode="boost"))
    assert np.abs(ours - theirs).max() < TOLERANCE[plan.weights] * np.abs(theirs).max()


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_networks_give_the_integers(name):
    np.testing.assert_array_equal(*both(QUANTIZED[name]()))


def test_a_profile_times_the_whole_and_every_launch():
    artifact = espalier.build(plain(channels=32), "cuda", Plan(weights="float16"))
    x = np.zeros(artifact.inputs[0].shape, np.float32)
    assert 1e-6 < artifact.profile(x).latency_s < 1
    seconds = launch_seconds(artifact.program.functions, artifact.program.launches, tvm.cuda(0))
    assert all(1e-7 < one < 1e-2 for one in seconds)


def test_trials_are_measured(tmp_path):
    result = tune(plain(channels=32), "cuda", Plan(weights="float16"), records=tmp_path / "r.db", budget="8trials")
    assert result.trials == 8
    assert result.best_s <= result.rule_s
    artifact = espalier.build(plain(channels=32), "cuda", Plan(weights="float16"), records=tmp_path / "r.db")
    assert [line for line in artifact.report if "us (" in line]


def test_code_for_another_gpu_is_refused():
    present = gpu_of(resolve_target("cuda"))
    other = next(arch for arch in ARCHS if arch[:4] != present.arch[:4])
    artifact = espalier.build(plain(), {"kind": "cuda", "arch": other})
    with pytest.raises(UnsupportedTargetError, match=f"compiled for {other} and this GPU"):
        artifact(np.zeros(artifact.inputs[0].shape, np.float32))
