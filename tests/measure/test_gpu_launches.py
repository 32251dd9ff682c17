"""Launches are timed one by one from what a saved program says of them; here emulated, on the CPU."""

from __future__ import annotations

import json

import numpy as np
import tvm
from oracles import emulated
from oracles.graphs import layers, planned
from oracles.integer_networks import gated_network
from oracles.networks import NETWORKS

from espalier.codegen.cuda.generate import lowered_on
from espalier.codegen.cuda.launches import KernelLaunch
from espalier.core.plan import Plan
from espalier.core.records import MACHINE
from espalier.measure import environment, gpu_launches
from espalier.measure.environment import record_environment
from espalier.targets.gpu import gpu_of_arch


def test_every_launch_gets_a_time(monkeypatch):
    monkeypatch.setattr(gpu_launches, "NUMBER", 1)
    monkeypatch.setattr(gpu_launches, "REPEAT", 1)
    real = planned(NETWORKS["mobile"](channels=16, size=6), Plan(weights="float16", density=0.5, granularity=8))
    for mod in (real, gated_network(16, 8, "output", True)):
        _, emitted = lowered_on(mod, gpu_of_arch("sm_90a"))
        library = emulated.linked(*emitted.variants.values())
        stored = [json.loads(json.dumps(one.to_dict())) for one in emitted.launches]
        launches = [KernelLaunch.from_dict(one) for one in stored]
        assert launches == emitted.launches
        seconds = gpu_launches.launch_seconds(library, launches, tvm.cpu())
        assert len(seconds) == len(launches) > 5
        assert all(1e-7 < one < 10 for one in seconds)


def test_every_list_is_what_a_gate_gives():
    """Of the listed groups, granularity and groups that the operators themselves say."""
    real = planned(NETWORKS["mobile"](channels=32, size=6), Plan(weights="float16", density=0.5, granularity=8))
    for mod in (real, gated_network(32, 8, "output", True)):
        _, emitted = lowered_on(mod, gpu_of_arch("sm_90a"))
        known = layers(mod)
        listed = 0
        for launch in emitted.launches:
            spec = known[launch.layer.removesuffix(".sums") + ".gate" * launch.layer.endswith(".sums")][1]
            arrays = gpu_launches.operands(np.random.default_rng(0), launch)
            assert [(one.shape, str(one.dtype)) for one in arrays] == list(launch.tensors)
            found = [one for one in arrays if one.dtype == np.int32 and one.any()]
            wanted = [one for one in (getattr(spec, "winners", None), spec.active) if one and one.count > 1]
            assert [one.shape[1] for one in found] == [one.count for one in wanted], launch.layer
            for lists, one in zip(found, wanted, strict=True):
                assert (np.diff(lists, axis=1) > 0).all()
                assert lists.min() >= 0
                assert lists.max() < 64 // one.granularity
            listed += len(found)
        assert listed > 3


def test_records_of_gpu_kernels_are_of_another_environment(monkeypatch):
    """Not of the CPU beside the GPU, nor of the CPU's kernels."""
    ours, theirs = record_environment.__wrapped__(kind="cuda"), record_environment.__wrapped__()
    assert ours["espalier"] != theirs["espalier"]
    monkeypatch.setattr(environment, "gpu_model", lambda: "some GPU")
    assert record_environment.__wrapped__(kind="cuda")[MACHINE] == "some GPU"
    assert record_environment.__wrapped__()[MACHINE] == theirs[MACHINE]
    assert record_environment.__wrapped__("rpc board", "cuda")[MACHINE] == "rpc board"
