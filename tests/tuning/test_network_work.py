"""What a network does is what its program has: as many kernels, gates and changes of layout."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

import espalier
from espalier.core.errors import InvalidInputError
from espalier.core.plan import Plan
from espalier.tuning.network_work import NetworkWork, network_work
from espalier.tuning.placeholder import placeholder_calibration

TARGET = {"kind": "llvm", "num-cores": 1}
NETWORK = nn.Sequential(
    nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 32, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 16, 10),
).eval()  # fmt: skip
PLANS = {"dense": Plan(), "gated": Plan(density=0.5), "int8": Plan(weights="uniform<8>")}


@pytest.fixture(scope="module")
def mod():
    """A small network with everything that is counted."""
    with torch.no_grad():
        return espalier.from_torch(NETWORK, np.zeros((1, 3, 8, 8), "float32"))


@pytest.mark.parametrize("name", PLANS)
def test_kernels_are_those_of_the_program(mod, name):
    work = network_work(mod, TARGET, PLANS[name])
    program = espalier.build(mod, TARGET, PLANS[name], placeholder_calibration(mod, PLANS[name])).program
    compiled = {layer: kernel for kernel, layer in program.kernel_layers.items() if not kernel.startswith("gate")}
    assert [one.layer for one in work.kernels] == ["0", "2", "5"]
    for one in work.kernels:
        assert compiled[one.layer].startswith(one.option.choice.family)
    gates = [kernel for kernel in program.kernel_layers if kernel.startswith("gate")]
    assert work.amounts["gates"] == len(gates) == (3 if name == "gated" else 0)
    assert work.amounts["dense_weights"] == 5120
    if name == "dense":
        assert (work.amounts["changed_values"] > 0) == any("layout" in kernel for kernel in program.kernel_layers)


def test_text_and_back(mod):
    work = network_work(mod, TARGET, PLANS["gated"])
    assert NetworkWork.of_dict(json.loads(json.dumps(work.to_dict()))) == work
    with pytest.raises(InvalidInputError, match="accepted is what `to_dict` gave"):
        NetworkWork.of_dict({"kernels": []})
