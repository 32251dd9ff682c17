"""Single kernels on trial: the reference is what the oracle says, right kernels pass, wrong numbers do not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st
from oracles import nn, stored
from oracles.convolutions import depthwise_problems, in_bfloat16, problem_of, problems
from oracles.integer_layers import quantized, random_arrays
from oracles.running import assert_close_in, drawn

from espalier.codegen.cpu import trial
from espalier.codegen.cpu.kernels.int8 import as_kernels_take_it
from espalier.codegen.cpu.kernels.requantize import rounding_of
from espalier.codegen.cpu.layout import Layout
from espalier.codegen.cpu.spaces import is_tunable, options, problem_of_task, task_of
from espalier.codegen.cpu.surroundings import Surroundings
from espalier.core.layers import Activation, Conv2dSpec
from espalier.targets.cpu import isa_of
from espalier.targets.resolve import resolve_target

TARGET = resolve_target("llvm")
SPEC = Conv2dSpec("conv", ("x", "weight", "bias"), Activation("relu"), padding=(1,) * 4)


def run(one, choices, arrays) -> list[np.ndarray]:
    """The stored outputs of a library's functions."""
    module, outputs = trial.library_of(one, choices).mod, []
    for name, choice in zip(trial.names_of(choices), choices):
        tensors = [tvm.runtime.tensor(array) for array in trial.Trial(one, choice).arguments(arrays)]
        module[name](*tensors)
        outputs.append(tensors[-1].numpy())
    return outputs


def is_wrong(problem, one, arrays, choice, output) -> float:
    return trial.Trial(one, choice).difference(output, arrays, trial.expected_of(one, arrays))


@drawn(15)
@given(problems() | problems(grouped=True) | depthwise_problems(), st.booleans())
def test_what_is_expected_is_what_the_oracle_computes(problem, pairs):
    problem = in_bfloat16(problem, True) if pairs else problem
    one = task_of(problem, TARGET)
    arrays = trial.arrays_of(one)
    assert set(arrays) == set(problem.spec.roles)
    assert_close_in(problem.spec.out_format, trial.expected_of(one, arrays), nn.layer(problem.spec, arrays))


@drawn(8)
@given(problems() | depthwise_problems(), st.booleans())
def test_right_kernels_pass(problem, pairs):
    problem = in_bfloat16(problem, True) if pairs else problem
    one = task_of(problem, TARGET)
    space, arrays = options(*problem_of_task(one)), trial.arrays_of(one)
    choices = list({option.choice.family: option.choice for option in space}.values())
    for choice, output in zip(choices, run(one, choices, arrays)):
        assert is_wrong(problem, one, arrays, choice, output) <= 1


@drawn(8)
@given(problems() | depthwise_problems(), st.integers(0, 2), st.integers(0, 2), st.booleans())
def test_right_kernels_pass_in_any_surroundings(problem, out_halo, residual_halo, clears):
    plain = task_of(problem, TARGET)
    space, arrays = options(*problem_of_task(plain)), trial.arrays_of(plain)
    for choice in {option.choice.family: option.choice for option in space}.values():
        block = trial.Trial(plain, choice).family.x_blocks[-1]
        around = Surroundings(block, problem.halo_needed + 1, out_halo, residual_halo, clears, True)
        one = task_of(problem, TARGET, around)
        (output,) = run(one, [choice], arrays)
        assert trial.Trial(one, choice).is_cold([])
        assert is_wrong(problem, one, arrays, choice, output) <= 1
        stored = trial.Trial(one, choice).out_layout.unpack(output, problem.channels_out)
        losers = ~trial.written_channels(problem, arrays)
        assert not (clears and np.any(stored[losers]))


@drawn(12)
@given(quantized(problems() | problems(grouped=True) | depthwise_problems()))
def test_right_kernels_of_bytes_pass(problem):
    isa = isa_of(TARGET)
    arrays = random_arrays(problem.spec, problem.x_shape, problem.weight_shape, problem.out_shape)
    rounding = rounding_of(problem.spec, arrays, isa)
    problem = dataclasses.replace(problem, spec=as_kernels_take_it(problem.spec, isa), rounding=rounding)
    if is_tunable(problem):
        one = task_of(problem, TARGET)
        space, arrays = options(*problem_of_task(one)), trial.arrays_of(one)
        choices = list({option.choice.family: option.choice for option in space}.values())
        for choice, output in zip(choices, run(one, choices, arrays)):
            assert is_wrong(problem, one, arrays, choice, output) == 0
            unwritten = trial.Trial(one, choice).arguments(arrays)[-1]
            assert is_wrong(problem, one, arrays, choice, unwritten) > 1 or not unwritten.size


def test_wrong_numbers_do_not_pass():
    problem = problem_of(SPEC, 1, 20, 24, (5, 6), (3, 3))
    one = task_of(problem, TARGET)
    arrays, choice = trial.arrays_of(one), options(*problem_of_task(one))[0].choice
    (output,) = run(one, [choice], arrays)
    unwritten = trial.Trial(one, choice).arguments(arrays)[-1]
    assert is_wrong(problem, one, arrays, choice, output) <= 1
    assert is_wrong(problem, one, arrays, choice, output * np.float32(1.01)) > 1
    assert is_wrong(problem, one, arrays, choice, unwritten) == np.inf


def test_weights_that_other_layers_drive_out_are_cold():
    for channels, cold in ((64, False), (512, True)):
        problem = problem_of(dataclasses.replace(SPEC, winograd=False), 1, channels, channels, (7, 7), (3, 3))
        one = task_of(problem, TARGET)
        tried = trial.Trial(one, options(*problem_of_task(one))[0].choice)
        assert tried.is_cold(tried.arguments(trial.arrays_of(one))) == cold


def test_the_reference_runs_on_the_tasks_cores():
    one = task_of(problem_of(SPEC, 1, 4, 4, (3, 3), (3, 3)), resolve_target({"kind": "llvm", "num-cores": 2}))
    tensors = [tvm.runtime.tensor(array) for array in trial.reference_arguments(one)]
    trial.library_of(one, []).mod[trial.REFERENCE](*tensors)
    assert trial.cores_of(one) == len(tensors[-1].numpy()) == 2
    np.testing.assert_allclose(tensors[-1].numpy(), problem_of_task(one)[1].registers - 8, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("block", "halo"), [(1, 0), (1, 2), (16, 0), (4, 1)])
def test_layouts_store_as_the_oracle_does(block, halo, dtype):
    x = nn.bfloat16(np.random.default_rng(0).standard_normal((2, 10, 3, 5)).astype("float32"))
    packed = Layout(block, halo, dtype).pack(x)
    np.testing.assert_array_equal(packed, stored.store(x, block, halo, dtype))
    np.testing.assert_array_equal(Layout(block, halo, dtype).unpack(packed, 10), x)
