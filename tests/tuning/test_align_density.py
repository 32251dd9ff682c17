"""Aligned densities: no more time than before, no stair left half used, and what the plan says itself stays."""

from __future__ import annotations

import numpy as np
import pytest
from models import ModelBuilder

import espalier
from espalier.build import lowered
from espalier.codegen.cuda.generate import lowered_on
from espalier.core.errors import InvalidPlanError, UnsupportedTargetError
from espalier.core.plan import Plan
from espalier.frontend import bundled
from espalier.targets.gpu import gpu_of_arch
from espalier.tuning.align_density import FREE, align_density
from espalier.tuning.cost_model.interface import CostModel, Prediction
from espalier.tuning.network_work import network_work
from espalier.tuning.placeholder import placeholder_calibration

H100 = "nvidia/nvidia-h100"
TARGET = {"kind": "llvm", "mcpu": "x86-64-v4", "num-cores": 1}
LANES = 16


class Stairs(CostModel):
    """A step for each started vector of channels that are computed, and nothing for those that are read."""

    name, suffix = "stairs", ""

    def fit(self, samples) -> None:
        """Nothing to learn."""

    def predict(self, task, options) -> Prediction:
        winners = task.facts.get("winners")
        channels = winners["count"] * winners["granularity"] if winners else task.facts["shapes"]["out"][1]
        return Prediction.certain(np.full(len(options), np.log(-(-channels // LANES))))

    def save(self, path) -> None:
        """Nothing to keep."""

    @classmethod
    def load(cls, path) -> Stairs:
        """Nothing to read."""
        return cls()


@pytest.fixture(scope="module")
def mod():
    """Three convolutions in a row, and a classifier."""
    b = ModelBuilder()
    y = b.relu(b.conv(b.relu(b.conv("x", "conv0", 3, 96)), "conv1", 96, 96))
    return espalier.from_onnx(b.model([1, 3, 8, 8], b.head(b.relu(b.conv(y, "conv2", 96, 64)), "fc", 64, 10)))


@pytest.mark.parametrize(("density", "channels"), [(0.3, 32), (0.5, 48), (0.51, 64), (0.9, 92)])
def test_each_list_is_as_long_as_its_stair(mod, density, channels):
    """92: the next longer list is no list but all channels, at which there is no gate."""
    plan, found = align_density(mod, TARGET, Plan(density=density, granularity=4), Stairs())
    assert [one.name for one in found] == ["conv0", "conv1", "conv2"]
    first = found[0]
    assert (first.channels, first.aligned) == (96, channels)
    assert first.kept == 4 * int(np.ceil(density * 96 / 4))
    assert plan.layers["conv0"]["density"] == pytest.approx(channels / 96)


def test_the_rule_finds_stairs_and_the_network_takes_no_longer(mod):
    given = Plan(density=0.55, granularity=1)
    plan, found = align_density(mod, TARGET, given)
    assert any(one.aligned > one.kept for one in found)
    for one in found:
        assert one.kept <= one.aligned < one.channels
        assert one.aligned_s <= (1 + FREE) * one.seconds
    cycles = [sum(one.option.cycles for one in network_work(mod, TARGET, each).kernels) for each in (given, plan)]
    assert cycles[1] <= (1 + FREE) ** len(found) * cycles[0]


def test_on_a_gpu_stairs_are_those_of_waves_and_tiles(mod):
    """Predicted, without a GPU; these gates are fitted already, and so none is left out."""
    given = Plan(density=0.3, granularity=8, weights="float16")
    _, found = align_density(mod, H100, given, fitted=("conv0", "conv1", "conv2"))
    assert [(one.name, one.kept) for one in found] == [("conv0", 32), ("conv1", 32), ("conv2", 24)]
    assert any(one.aligned > one.kept for one in found)
    for one in found:
        assert one.kept <= one.aligned < one.channels
        assert 1e-6 < one.aligned_s <= (1 + FREE) * one.seconds < 1e-4
    with pytest.raises(UnsupportedTargetError, match="a cost model is for llvm"):
        align_density(mod, H100, given, Stairs())


def seconds_on_a_gpu(mod, plan: Plan) -> float:
    """Of all launches, predicted."""
    target = lowered(mod, plan, placeholder_calibration(mod, plan))
    return sum(launch.predicted_s for launch in lowered_on(target, gpu_of_arch("sm_90a"))[1].launches)


def test_on_a_gpu_gates_that_do_not_pay_are_left_out(mod):
    given = Plan(density=0.3, granularity=8, weights="float16")
    dense = seconds_on_a_gpu(mod, Plan(weights="float16"))
    assert seconds_on_a_gpu(mod, given) > dense
    plan, found = align_density(mod, H100, given)
    assert [(one.name, one.aligned) for one in found] == [("conv0", 96), ("conv1", 96), ("conv2", 64)]
    assert seconds_on_a_gpu(mod, plan) == pytest.approx(dense)


def test_on_a_gpu_gates_that_pay_stay():
    """Of a large layer; the network takes no longer than with all of its gates, nor than with none."""
    b = ModelBuilder()
    y = b.relu(b.conv(b.relu(b.conv("x", "conv0", 16, 512)), "conv1", 512, 512))
    mod = espalier.from_onnx(b.model([32, 16, 28, 28], b.head(b.relu(b.conv(y, "conv2", 512, 64)), "fc", 64, 10)))
    given = Plan(density=0.5, granularity=16, weights="float16")
    plan, found = align_density(mod, H100, given)
    stays = {one.name: one.aligned < one.channels for one in found}
    assert stays["conv1"]
    assert seconds_on_a_gpu(mod, plan) <= min(
        seconds_on_a_gpu(mod, one) for one in (given, Plan(weights="float16"))
    ) * (1 + FREE) ** len(found)


def test_an_fpga_has_no_such_stairs(mod):
    with pytest.raises(UnsupportedTargetError, match="accepted are llvm and cuda"):
        align_density(mod, "fpga_hls/pynq-z2", Plan(density=0.5))


def test_a_density_that_the_plan_gives_stays(mod):
    given = Plan(density=0.51, granularity=4, layers={"conv1": {"density": 0.3}})
    plan, found = align_density(mod, TARGET, given, Stairs())
    assert [one.name for one in found] == ["conv0", "conv2"]
    assert plan.layers["conv1"] == {"density": 0.3}
    assert espalier.Plan.from_dict(plan.to_dict()) == plan


def test_without_an_open_gate_there_is_nothing_to_align(mod):
    for plan in (Plan(), Plan(layers={"conv0": {"density": 0.5}})):
        with pytest.raises(InvalidPlanError, match="leaves no gate open"):
            align_density(mod, TARGET, plan)


def test_gates_that_came_with_the_model_keep_their_lists():
    gated = espalier.from_onnx(bundled.gated_model_path())
    with pytest.raises(InvalidPlanError, match="leaves no gate open"):
        align_density(gated, TARGET, Plan())
