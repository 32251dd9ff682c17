"""Trials of GPU kernels: compiled to a library here, and run emulated against their reference bodies."""

from __future__ import annotations

import dataclasses
import subprocess

import numpy as np
import pytest
import tvm
from oracles import emulated
from oracles.convolutions import problem_of

from espalier.codegen.cpu.spaces import task_of
from espalier.codegen.cuda import trial
from espalier.codegen.cuda.kernels.conv2d import TILES, Schedule
from espalier.codegen.cuda.spaces import choice_of
from espalier.core.errors import UnsupportedTargetError
from espalier.core.integer import LayerArithmetic, ResidualArithmetic
from espalier.core.layers import Activation, ActiveList, Conv2dSpec
from espalier.measure import trials
from espalier.targets.resolve import resolve_target
from espalier.tuning.tune import tune

H100 = resolve_target("nvidia/nvidia-h100")
LISTS = {"winners": ActiveList(2, 16), "active": ActiveList(1, 16)}
SPECS = {
    "float16": Conv2dSpec("conv", ("x", "weight", "bias"), Activation("relu"), format="float16", padding=(1,) * 4),
    "int8": Conv2dSpec(
        "conv", ("x", "weight", "bias", "residual", "multiplier"), format="int8", out_format="uint8", padding=(1,) * 4,
        integer=LayerArithmetic(3, 24, residual=ResidualArithmetic(0)),
    ),
    "int8 over lists": Conv2dSpec(
        "conv", ("x", "weight", "multiplier", "pi", "winners", "active"), gate="output", format="int8",
        out_format="uint8", integer=LayerArithmetic(0, 24), padding=(1,) * 4, **LISTS,
    ),
    "a residual that passes the gate": Conv2dSpec(
        "conv", ("x", "weight", "residual", "pi", "winners"), gate="branch", format="float16", padding=(1,) * 4,
        winners=LISTS["winners"],
    ),
}  # fmt: skip


def task_and_choice(name: str, splits: int = 2):
    spec = SPECS[name]
    rounding = "fused" if spec.integer else ""
    problem = dataclasses.replace(problem_of(spec, 1, 32, 48, (5, 6), (3, 3)), rounding=rounding)
    return task_of(problem, H100), choice_of(Schedule(TILES[3], splits))


@pytest.mark.parametrize("name", SPECS)
def test_a_trial_gives_what_its_body_gives(name):
    task, choice = task_and_choice(name)
    one, arrays = trial.Trial(task, choice), trial.arrays_of(task)
    expected, tensors = trial.expected_of(task, arrays), [tvm.runtime.tensor(a) for a in one.arguments(arrays)]
    library = emulated.linked(one.call.called, one.call.fixed("choice0"))
    assert one.difference(tensors[-1].numpy(), arrays, expected) == float("inf")  # not written yet
    library["choice0"](*tensors)
    assert one.difference(tensors[-1].numpy(), arrays, expected) <= 1
    wrong = np.where(tensors[-1].numpy() > 100, 0, tensors[-1].numpy() + 1).astype(tensors[-1].dtype)
    assert one.difference(wrong, arrays, expected) > 1


def test_a_library_of_trials_is_compiled_and_linked_without_a_gpu(tmp_path):
    task, choice = task_and_choice("int8")
    (function,) = trials.build(trials.CUDA_KERNELS, task, [choice], tmp_path / "trials.so")
    symbols = subprocess.run(["nm", "-D", function.library], capture_output=True, text=True, check=True).stdout
    assert f"__tvm_ffi_{function.name}" in symbols
    assert f"__tvm_ffi_{trial.REFERENCE}" in symbols
    assert trial.reference_arguments(task)[-1].dtype == np.float32


@pytest.mark.skipif(tvm.cuda(0).exist, reason="this machine has a GPU")
def test_tuning_without_a_gpu_says_so():
    from oracles.networks import plain

    with pytest.raises(UnsupportedTargetError, match="the artifact is for a GPU"):
        tune(plain(), "nvidia/nvidia-h100", budget="1trials")
