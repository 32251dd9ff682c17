"""Small networks that a GPU machine checks against the bodies of their operators: rehearsed on emulated kernels."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest
import tvm
from gpu import network_steps, timing
from oracles import emulated
from oracles.running import run_stock
from support import gpu_checks

from espalier.codegen.cuda.generate import lowered_on
from espalier.codegen.cuda.kernels.epilogue import FILL_RESTING, FLAGS, GATES
from espalier.codegen.generate import generate
from espalier.targets.gpu import gpu_of_arch
from espalier.targets.resolve import resolve_target

H100 = gpu_of_arch("sm_90a")
module = functools.cache(gpu_checks.check_module)


def test_together_they_reach_every_kernel_and_every_way_to_end_a_layer():
    launches = [one for name in gpu_checks.CHECKS for one in lowered_on(module(name), H100)[1].launches]
    families = {re.sub(r"_\d+x\d+_.*", "", one.variant).removeprefix("espalier_") for one in launches}
    assert families == {
        *(f"conv2d_{one}" for one in ("float16", "float32", "int8", "int8_pieces")),
        *(f"depthwise_{one}" for one in ("real", "bytes")),
        *(f"channel_gate_{one}" for one in ("real", "bytes")),
        *(f"channel_sums_{one}" for one in ("float16", "float32", "uint8")),
        "dense_codebook",
    }
    convolutions = [one for one in launches if "conv2d" in one.variant]
    for bits in (*FLAGS.values(), FILL_RESTING):
        assert any(one.numbers[0] & bits for one in convolutions)
    granularities = {one.numbers[17] for one in convolutions if one.numbers[0] & FLAGS["winners"]}
    assert granularities == {8, 16}
    assert any(one.grid[1] > 1 for one in convolutions), "no depth is split"
    ends = {tuple(one.numbers[25:28]) for one in convolutions if "int8" in one.variant}
    assert {gate for gate, *_ in ends} == set(GATES.values())
    assert {(is_real, fused) for _, is_real, fused in ends} >= {(1, 0), (0, 1)}  # 64 bits are among `gpu_cases`
    modes = {one.numbers[8] for one in launches if "channel_gate_bytes" in one.variant}
    assert modes == {0, 1}, "gates of bytes both boost and select"


@pytest.mark.parametrize("name", ["residual float16, branch, lists of 8", "mobile bytes, lists of 8"])
def test_emulated_kernels_agree(name):
    mod = module(name)
    shape = tuple(int(size) for size in mod["main"].params[0].ty.shape)
    x = np.random.default_rng().standard_normal(shape, np.float32)
    pairs = [(emulated.run_network(mod, H100, x), run_stock(mod, x))]
    found = network_steps.agreement(pairs, gpu_checks.tolerance_of(gpu_checks.CHECKS[name][1]))
    assert found["ok"], found
    assert found["samples"] == gpu_checks.BATCH
    assert len(pairs[0][0]) > 2, "no lists"


def test_a_check_runs_both_libraries_on_the_same_data(monkeypatch, tmp_path):
    """Both for this CPU; then one that gives another result."""
    monkeypatch.setattr(timing, "DEVICE", "cpu")
    name = "mobile float16, lists of 8"
    generate(module(name), resolve_target(gpu_checks.HOST), lower=False).executable.export_library(
        str(tmp_path / "host.so")
    )
    entry = {"name": name, "file": "host.so", "reference": "host.so", "variants": ["v"], "tolerance": 1e-2}
    steps = network_steps.NetworkSteps(tmp_path, timing.Record(tmp_path / "gpu.json", 900, {}), None)
    steps.check({**entry, "shape": [gpu_checks.BATCH, 3, 12, 12]})
    (found,) = steps.record.results["checks"]
    assert (found["ok"], found["error"], found["flipped"], found["samples"]) == (True, 0, 0, 12)


LISTS = np.array([[0, 1], [0, 2], [1, 3], [2, 3]])
Y = np.arange(1.0, 13).reshape(4, 3)


@pytest.mark.parametrize(
    ("y", "lists", "tolerance", "ok"),
    [
        (Y, LISTS, 0.0, True),
        (Y * 1.005, LISTS, 1e-2, True),
        (Y * 1.02, LISTS, 1e-2, False),
        (Y + np.eye(4, 3) * np.nan, LISTS, 1e-2, False),
        (Y + np.eye(4)[:, :1], LISTS, 0.0, False),
        (
            Y + np.eye(4)[:, :1],
            LISTS + np.eye(4, 2, dtype=int) * [[1, 0]],
            1e-2,
            True,
        ),  # one sample, which chose otherwise
        (Y, LISTS + np.eye(4, 2, dtype=int) * [[1, 0]], 0.0, False),
        (Y, LISTS + np.eye(4, 2, dtype=int), 1e-2, False),
    ],
)
def test_samples_whose_gates_chose_otherwise_are_few_and_not_compared(y, lists, tolerance, ok):
    assert network_steps.agreement([((y, lists), (Y, LISTS))], tolerance)["ok"] is ok


def test_lists_are_given_beside_the_result():
    mod = module("residual float16, lists of 4")
    assert isinstance(mod, tvm.IRModule)
    _, first, second = mod["main"].ret_ty.fields
    assert [(int(one.shape[0]), int(one.shape[1])) for one in (first, second)] == [(4, 4), (4, 8)]
