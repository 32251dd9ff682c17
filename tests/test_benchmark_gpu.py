"""What runs on a GPU machine, tried here on emulated kernels: it agrees with torch, and sees a wrong kernel."""

from __future__ import annotations

import prepare_gpu
import pytest
import torch
from gpu import measure
from oracles import emulated

from espalier.codegen.cuda.kernels.conv2d import TILES
from espalier.targets.gpu import gpu_of_arch

H100 = gpu_of_arch("sm_90a")
LAYERS = {"3x3": (64, 64, 6, 3, 1), "1x1 stride 2": (64, 128, 5, 1, 2)}


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(measure, "DEVICE", "cpu")
    monkeypatch.setattr(prepare_gpu, "LAYERS", LAYERS)


def library(change=lambda y: None) -> dict:
    """The kernels by name; `change` is done to the last tensor of each call, which is the output without splits."""

    def function(variant):
        def run(*arguments):
            emulated.function_of(variant)(*arguments)
            change(arguments[-1])

        return run

    return {tile.variant("float16").name: function(tile.variant("float16")) for tile in TILES}


@pytest.mark.parametrize("density", [1.0, 0.5])
@pytest.mark.parametrize("name", LAYERS)
def test_kernels_agree_with_torch(name, density):
    case = prepare_gpu.conv_case(name, 2, density, "float16", H100)
    found = measure.check(library(), case, case["schedules"][0])
    assert found["ok"], found


def test_a_wrong_kernel_is_seen():
    case = prepare_gpu.conv_case("3x3", 1, 1.0, "float16", H100)
    schedule = next(one for one in case["schedules"] if one["splits"] == 1)
    assert not measure.check(library(lambda y: y.mul_(1.02)), case, schedule)["ok"]
