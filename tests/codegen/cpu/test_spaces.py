"""A task's choices: all legal, all different, each computes what the layer's formula says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from oracles.convolutions import check, depthwise_problems, problem_of, problems
from oracles.stored import store

from espalier.codegen.cpu.kernels.lists import whole_blocks
from espalier.codegen.cpu.layout import Layout
from espalier.codegen.cpu.select import candidates
from espalier.codegen.cpu.spaces import HOPELESS, choice_of, family_of, options, problem_of_task, task_of
from espalier.core.choices import Choice, Task
from espalier.core.errors import InvalidInputError
from espalier.core.integer import LayerArithmetic
from espalier.core.layers import Activation, ActiveList, Conv2dSpec
from espalier.targets.cpu import ISAS, isa_of
from espalier.targets.resolve import resolve_target

AVX512, HERE = ISAS[0], isa_of(resolve_target("llvm"))
TARGET = resolve_target({"kind": "llvm", "mcpu": "x86-64-v4", "num-cores": 2})


def layer(c_in=32, c_out=48, image=(9, 14), kernel=(3, 3), **changes):
    """A convolution with bias and ReLU."""
    spec = Conv2dSpec("conv", ("x", "weight", "bias"), Activation("relu"), padding=(kernel[0] // 2,) * 4)
    return problem_of(dataclasses.replace(spec, **changes), 1, c_in, c_out, image, kernel)


PROBLEMS = {
    "3x3": layer(),
    "1x1": layer(kernel=(1, 1)),
    "narrow": layer(20, 10),
    "listed": layer(
        gate="listed", roles=("x", "weight", "winners"), winners=ActiveList(2, 16), activation=Activation()
    ),
    "depthwise": layer(32, 32, groups=32),
}


@settings(max_examples=60, deadline=None)
@given(problems() | problems(grouped=True) | depthwise_problems())
def test_a_task_keeps_all_that_matters_of_a_problem(problem):
    found, isa = problem_of_task(Task.parse(task_of(problem, TARGET).text))
    assert dataclasses.replace(found, spec=dataclasses.replace(found.spec, name=problem.spec.name)) == problem
    assert isa == isa_of(TARGET)


def test_layers_that_differ_in_their_names_are_one_task():
    other = dataclasses.replace(layer(), spec=dataclasses.replace(layer().spec, name="other"))
    assert task_of(other, TARGET) == task_of(layer(), TARGET)
    assert task_of(layer(winograd=False), TARGET) != task_of(layer(), TARGET)


@pytest.mark.parametrize(("x_zero", "same"), [(17, True), (0, False)])
def test_the_numbers_of_quantized_layers_are_no_part_of_a_task(x_zero, same):
    """A kernel takes the same time for any zero point but 0, any shift, any format of the weights."""
    integer = LayerArithmetic(128, 20)
    spec = layer().spec.with_arguments("multiplier", format="int8", out_format="uint8", integer=integer)
    one = dataclasses.replace(layer(), spec=spec, rounding="narrow")
    changed = dataclasses.replace(spec, integer=LayerArithmetic(x_zero, 11, 3, 1, 99), weight_format="focused<5>")
    assert (task_of(dataclasses.replace(one, spec=changed), TARGET) == task_of(one, TARGET)) == same
    assert task_of(dataclasses.replace(one, rounding="wide"), TARGET) != task_of(one, TARGET)
    assert {option.choice.family for option in options(*problem_of_task(task_of(one, TARGET)))} == {"int8"}


def test_another_operator_is_refused():
    with pytest.raises(InvalidInputError, match="accepted is 'espalier.conv2d'"):
        problem_of_task(Task("espalier.dense", {"shapes": {}}, {"kind": "llvm"}))


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_the_space(problem):
    """The rule's own choice comes first, every family is there, and none is listed twice or is hopeless."""
    space, own = options(problem, AVX512), candidates(problem, AVX512)
    assert len({option.choice for option in space}) == len(space) > len(own)
    assert {choice_of(family) for family in own} <= {option.choice for option in space}
    assert space[0].choice == choice_of(min(own, key=lambda family: family.cycles))
    cycles = [option.cycles for option in space]
    assert cycles[1:] == sorted(cycles[1:])
    hopeless = [option.choice for option in space if option.cycles > HOPELESS * min(cycles)]
    assert set(hopeless) <= {choice_of(family) for family in own}
    for option in space:
        family = family_of(problem, AVX512, option.choice)
        assert (choice_of(family), family.cycles) == (option.choice, option.cycles)


def test_sums_fit_the_registers():
    for option in options(layer(), AVX512):
        sizes = dict(option.choice.sizes)
        vectors = sizes["blocks"] * sizes.get("rows", 1) * sizes["columns"] if "blocks" in sizes else 0
        assert vectors < AVX512.registers


@pytest.mark.parametrize("text", ["unheard(rows=1)", "blocked(rows=1)", "blocked(blocks=1, rows=1, columns=1, x=1)"])
def test_a_choice_of_no_family_is_refused(text):
    with pytest.raises(InvalidInputError, match="accepted are families blocked"):
        family_of(layer(), AVX512, Choice.parse(text))


@pytest.mark.parametrize("name", PROBLEMS)
def test_choices_compute_the_layer(name):
    """A few of each family, spread over its part of the space."""
    problem = PROBLEMS[name]
    by_family: dict = {}
    for option in options(problem, HERE):
        by_family.setdefault(option.choice.family, []).append(option.choice)
    for choices in by_family.values():
        for number in np.linspace(0, len(choices) - 1, 3).astype(int):
            check_family(problem, HERE, family_of(problem, HERE, choices[number]))


def check_family(problem, isa, family) -> None:
    x_layout = Layout(family.x_blocks[0], problem.halo_needed)
    packed = {
        "x": lambda x: store(x, x_layout.block, x_layout.halo),
        "weight": lambda weight: family.pack({"weight": weight}, x_layout.block)["weight"],
        "bias": lambda bias: whole_blocks(bias, family.out_block),
    }
    check(problem, isa, family.build(x_layout, Layout(family.out_block), None, True), packed, 0, family.out_block)
