"""Launches are timed one by one from what a saved program says of them; here emulated, on the CPU."""

from __future__ import annotations

import json

import tvm
from oracles import emulated
from oracles.graphs import planned
from oracles.integer_networks import gated_network
from oracles.networks import NETWORKS

from espalier.codegen.cuda.generate import lowered_on
from espalier.codegen.cuda.launches import KernelLaunch
from espalier.core.plan import Plan
from espalier.measure import gpu_launches
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
