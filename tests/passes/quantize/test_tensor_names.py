"""Tensors are called after layers, and the same with and without gates."""

from __future__ import annotations

from oracles.graphs import pruned
from oracles.networks import residual

from espalier.build import prepare
from espalier.core.plan import Plan
from espalier.ir.dataflow import Dataflow
from espalier.passes.quantize.tensor_names import tensor_names


def test_names():
    mod = residual(channels=8, size=4)
    names = list(tensor_names(Dataflow.of(prepare(mod))).values())
    assert names[:4] == ["x", "stem", "stem/max_pool2d", "block1.conv1"]
    assert names[-2:] == ["block3.conv2/mean", "fc"] or names[-2].endswith("/mean")
    assert len(set(names)) == len(names)
    gated = pruned(mod, Plan(density=0.5, granularity=1, placement="sum"))
    assert list(tensor_names(Dataflow.of(gated)).values()) == names
