"""What a network does is what its program has: as many kernels, gates and changes of layout."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import tvm
from torch import nn

import espalier
from espalier.build import lowered
from espalier.codegen.cpu.lower import LowerOnCpu
from espalier.codegen.cpu.spaces import surroundings_of_task
from espalier.codegen.cpu.trial import Trial
from espalier.core.errors import InvalidInputError
from espalier.core.plan import Plan
from espalier.targets.cpu import isa_of
from espalier.targets.resolve import resolve_target
from espalier.tuning.network_work import NetworkWork, network_work
from espalier.tuning.placeholder import placeholder_calibration

TARGET = {"kind": "llvm", "num-cores": 1}
NETWORK = nn.Sequential(
    nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 32, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 16, 10),
).eval()  # fmt: skip
PLANS = {"dense": Plan(), "gated": Plan(density=0.5), "int8": Plan(weights="uniform<8>")}


class Residual(nn.Module):
    """x [1, 3, 8, 8] to [1, 16, 8, 8]: tensors with margins and without, a residual, and gates whose zeros are read."""

    def __init__(self):
        super().__init__()
        self.first, self.inner, self.outer = (nn.Conv2d(inputs, 16, 3, padding=1) for inputs in (3, 16, 16))
        self.last = nn.Conv2d(16, 16, 1)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.last(torch.relu(self.outer(torch.relu(self.inner(x))) + x))


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


@pytest.mark.parametrize(
    ("placement", "clearing"), [("inner", set()), ("branch", {"first", "outer"}), ("sum", {"first"})]
)
def test_kernels_alone_are_those_of_the_program(placement, clearing):
    network = Residual().eval()
    with torch.no_grad():
        mod = espalier.from_torch(network, np.zeros((1, 3, 8, 8), "float32"))
    plan = Plan(density=0.5, placement=placement)
    target = resolve_target(TARGET)
    given = lowered(mod, plan, placeholder_calibration(mod, plan))
    functions = LowerOnCpu(isa_of(target))(given).functions.items()
    program = {name.name_hint: function for name, function in functions}
    kernels = network_work(mod, TARGET, plan).kernels
    assert len(kernels) == 4
    for one in kernels:
        alone = Trial(one.task, one.option.choice).kernel()
        compiled = program[f"{one.option.choice.family}_{one.layer}"]
        tvm.ir.assert_structural_equal(nameless(compiled), nameless(alone), map_free_vars=True)
    around = {one.layer: surroundings_of_task(one.task) for one in kernels}
    assert [around[name].out_halo for name in ("first", "inner", "outer", "last")] == [1, 1, 0, 0]
    assert around["outer"].residual_halo == 1
    assert {name for name, one in around.items() if one.clears_losers} == clearing


def nameless(kernel: tvm.tirx.PrimFunc) -> tvm.tirx.PrimFunc:
    """A kernel that does not say whose it is."""
    for name in ("global_symbol", "espalier.layer"):
        kernel = kernel.without_attr(name)
    return kernel


def test_text_and_back(mod):
    work = network_work(mod, TARGET, PLANS["gated"])
    assert NetworkWork.of_dict(json.loads(json.dumps(work.to_dict()))) == work
    with pytest.raises(InvalidInputError, match="accepted is what `to_dict` gave"):
        NetworkWork.of_dict({"kernels": []})
