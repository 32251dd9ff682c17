"""What runs on a GPU machine, tried here on emulated kernels: it agrees with numpy, and sees a wrong kernel."""

from __future__ import annotations

import numpy as np
import pytest
from gpu import network_kernels, operands, timing
from oracles import emulated
from support import gpu_cases

from espalier.codegen.cuda.kernels.conv2d import TILES
from espalier.targets.gpu import gpu_of_arch

H100 = gpu_of_arch("sm_90a")
LAYERS = {"3x3": (64, 64, 6, 3, 1), "1x1 stride 2": (64, 128, 5, 1, 2)}


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch):
    monkeypatch.setattr(timing, "DEVICE", "cpu")
    monkeypatch.setattr(gpu_cases, "LAYERS", LAYERS)


def library(change=lambda y: None) -> dict:
    """The kernels by name; `change` is done to the last tensor of each call, which is the output without splits."""

    def function(variant):
        def run(*arguments):
            emulated.function_of(variant)(*arguments)
            change(arguments[-1])

        return run

    variants = [tile.variant(number_format) for tile in TILES for number_format in ("float16", "int8")]
    return {variant.name: function(variant) for variant in variants}


@pytest.mark.parametrize("number_format", ["float16", "int8"])
@pytest.mark.parametrize("density", [1.0, 0.5])
@pytest.mark.parametrize("name", LAYERS)
def test_kernels_agree_with_numpy(name, density, number_format):
    case = gpu_cases.conv_case(name, 2, density, number_format, H100)
    found = operands.check(library(), case, case["schedules"][0], operands.sample_of(case, np.random.default_rng(0)))
    assert found["ok"], found


def test_a_wrong_kernel_is_seen():
    case = gpu_cases.conv_case("3x3", 1, 1.0, "float16", H100)
    schedule = next(one for one in case["schedules"] if one["splits"] == 1)
    sample = operands.sample_of(case, np.random.default_rng(0))
    wrong = library(lambda y: y.copyfrom(y.numpy() * np.float16(1.02)))
    assert not operands.check(wrong, case, schedule, sample)["ok"]


def test_a_kernel_that_writes_what_no_list_names_is_seen():
    case = gpu_cases.conv_case("3x3", 1, 0.5, "float16", H100)
    schedule = next(one for one in case["schedules"] if one["splits"] == 1)
    sample = operands.sample_of(case, np.random.default_rng(0))

    def overwrite(y):
        rest = np.where(np.isnan(y.numpy()), np.float16(0), y.numpy())
        y.copyfrom(rest)

    assert operands.check(library(), case, schedule, sample)["ok"]
    assert not operands.check(library(overwrite), case, schedule, sample)["ok"]


def test_measured_kernels_stand_beside_their_predictions():
    launch = {"layer": "conv", "variant": "v", "grid": (1, 1, 1), "registers": 9, "macs": 600, "bytes": 90}
    launches, predictions = [launch, {**launch, "layer": "fc"}], [{"waves": 1}, {"waves": 2}]
    rows = network_kernels.matched(launches, predictions, [[1.0, 4.0], [3.0, 5.0], [2.0, 9.0]])
    assert [(one["layer"], one["waves"], one["measured_s"]) for one in rows] == [("conv", 1, 2.0), ("fc", 2, 5.0)]
    assert rows[0]["macs_s"] == 300
    rows = network_kernels.matched(launches, predictions, [[1.0], [3.0], [2.0]])  # a kernel is missing
    assert [one["measured_s"] for one in rows] == [None, None]


def test_main_kernels_are_told_from_others():
    found = network_kernels.OURS.search
    assert found("void espalier::conv2d<espalier::Half, espalier::Tile<64, 64, 2, 2, 4> >(espalier::Convolution)")
    assert found("espalier::dense_codebook(espalier::DenseCodebook)")
    assert not found("void espalier::finish_resting<espalier::Epilogue>(espalier::Epilogue, long)")
