"""The choices of a convolution on a GPU: what is listed can run, and the rule orders it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from oracles.convolutions import problem_of
from oracles.graphs import planned, specs
from oracles.integer_networks import gated_network
from oracles.networks import NETWORKS

from espalier.codegen.cpu.spaces import task_of
from espalier.codegen.cuda.generate import lowered_on
from espalier.codegen.cuda.kernels.choose_schedule import choose_schedule, resident_of
from espalier.codegen.cuda.kernels.conv2d import NUMBERS
from espalier.codegen.cuda.kernels.legal_tiles import legal_tiles
from espalier.codegen.cuda.known_schedules import KnownSchedules
from espalier.codegen.cuda.spaces import (
    HOPELESS,
    choice_of,
    options,
    problem_of_task,
    product_of,
    schedule_of,
    tasks_of,
)
from espalier.core.choices import Choice, Task
from espalier.core.errors import InvalidInputError
from espalier.core.layers import Activation, Conv2dSpec
from espalier.core.plan import Plan
from espalier.ir.rewriting import remarks_of
from espalier.targets.gpu import GPUS, gpu_of
from espalier.targets.resolve import resolve_target
from espalier.tuning.cost_model.gpu_features import GPU_FEATURES, gpu_feature_rows

H100 = resolve_target("nvidia/nvidia-h100")
SPEC = Conv2dSpec("conv", ("x", "weight", "bias"), Activation("relu"), padding=(1,) * 4, format="float16")


CASES = [(gpu, number_format) for gpu in GPUS for number_format in gpu.formats]


def convolution(batch: int = 1, image: int = 14, spec: Conv2dSpec = SPEC):
    return problem_of(spec, batch, 128, 128, (image, image), (3, 3))


@pytest.mark.parametrize(("gpu", "number_format"), CASES, ids=lambda one: getattr(one, "arch", one))
def test_every_listed_tile_fits_a_block(gpu, number_format):
    numbers = NUMBERS[number_format]
    tiles = list(legal_tiles(numbers, gpu))
    assert len(tiles) > 30
    assert all(resident_of(one, numbers, gpu) for one in tiles)
    assert (gpu.block_shared_bytes < 128 << 10) == all(one.shared_bytes < 128 << 10 for one in tiles)


@pytest.mark.parametrize("problem", [convolution(), convolution(32, 28)], ids=["batch 1", "batch 32"])
def test_the_rules_own_choice_comes_first_and_nothing_hopeless(problem):
    listed, product = options(problem, gpu_of(H100)), product_of(problem)
    assert listed[0].choice == choice_of(choose_schedule(product, gpu_of(H100)))
    assert len(listed) == len({one.choice for one in listed}) > 10
    cycles = [one.cycles for one in listed[1:]]
    assert cycles == sorted(cycles)
    assert max(cycles) <= HOPELESS * min(one.cycles for one in listed)
    for one in listed:
        schedule = schedule_of(one.choice)
        assert choice_of(schedule) == one.choice == Choice.parse(str(one.choice))
        assert schedule.splits <= product.depth


UNEVEN = "conv2d(rows=64, columns=48, warps_down=2, warps_across=2, stages=3, splits=1)"


@pytest.mark.parametrize("text", ["conv2d(rows=64)", "blocked(rows=1, columns=4)", UNEVEN])
def test_other_choices_are_refused(text):
    with pytest.raises(InvalidInputError, match="accepted is conv2d with rows, columns"):
        schedule_of(Choice.parse(text))


def test_a_task_says_all_that_a_kernel_depends_on():
    plan = Plan(weights="float16", density=0.5, granularity=8)
    found = tasks_of(planned(NETWORKS["residual"](channels=32), plan), H100)
    names = [name for layers in found.values() for name in layers]
    assert set(names) == {name for name, spec in specs(planned(NETWORKS["residual"](), plan)).items()
                          if isinstance(spec, Conv2dSpec)}  # fmt: skip
    for task in [*found, *tasks_of(gated_network(32, 16, "branch", True), H100)]:
        problem, gpu = problem_of_task(Task.parse(task.text))
        assert gpu.arch == "sm_90a"
        assert task_of(problem, H100) == task
    with pytest.raises(InvalidInputError, match="task: got the operator 'espalier.dense'"):
        problem_of_task(dataclasses.replace(task, operator="espalier.dense"))


def test_features_tell_choices_apart():
    task = task_of(convolution(8, 28), H100)
    listed = options(*problem_of_task(task))
    rows = gpu_feature_rows(task, listed)
    assert rows.shape == (len(listed), len(GPU_FEATURES))
    assert np.isfinite(rows).all()
    assert len({tuple(row) for row in rows}) == len(listed)


class SecondBest:
    """Times that contradict the rule: its second choice is the fastest."""

    def seconds(self, task, listed):
        return {one.choice: (1e-6 if number == 1 else 9e-6) for number, one in enumerate(listed[:3])}

    def remark(self, task, choice) -> str:
        return "as told"

    def digest(self) -> str:
        return ""


def test_known_times_decide():
    mod = planned(NETWORKS["plain"](channels=32), Plan(weights="float16"))
    lowered, emitted = lowered_on(mod, gpu_of(H100), known=KnownSchedules(SecondBest(), H100))
    (task,) = [one for one, names in tasks_of(mod, H100).items() if "conv1" in names]
    second = options(*problem_of_task(task))[1].choice
    (launch,) = (one for one in emitted.launches if one.layer == "conv1")
    assert launch.variant == schedule_of(second).tile.variant("float16").name
    assert launch.grid[1] == schedule_of(second).splits
    assert f"conv1: {second} takes 1 us (as told)" in remarks_of(lowered)
