"""Convolutions of bfloat16 values: pairs where the processor has them, the same numbers everywhere else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from oracles.convolutions import (
    GATES,
    check_blocked,
    check_depthwise,
    check_planar,
    depthwise_problems,
    halos,
    in_bfloat16,
    problem_of,
    problems,
)
from oracles.running import PAIRS, drawn, every_isa, needs_pairs

from espalier.codegen.cpu.kernels.bfloat16 import multiplies_pairs
from espalier.core.layers import Activation, ActiveList, Conv2dSpec


@needs_pairs
@drawn(24)
@given(
    problems(PAIRS.lanes),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["float32", "bfloat16"]),
    halos(),
    st.booleans(),
)
def test_pairs_of_bfloat16(problem, in_pairs, rounds_output, residual_dtype, extra, clear_losers):
    """With a list of single active channels, which pairs cannot follow, the float32 kernel computes the same."""
    problem = in_bfloat16(problem, rounds_output)
    x_block = 2 if in_pairs and multiplies_pairs(problem.spec, PAIRS) else PAIRS.lanes
    check_blocked(problem, PAIRS, x_block, extra, clear_losers, residual_dtype=residual_dtype)


@every_isa
def test_bfloat16_in_float32_arithmetic(isa):
    @drawn(8)
    @given(problems(isa.lanes), st.booleans(), halos())
    def holds(problem, rounds_output, extra):
        problem = in_bfloat16(problem, rounds_output)
        check_blocked(problem, isa, isa.lanes, extra)
        check_planar(problem, isa, extra)

    holds()


@every_isa
def test_depthwise_in_bfloat16(isa):
    @drawn(6)
    @given(depthwise_problems(), st.booleans(), halos())
    def holds(problem, rounds_output, extra):
        problem = in_bfloat16(problem, rounds_output)
        if problem.spec.winners is None or problem.spec.winners.granularity % isa.lanes == 0:
            check_depthwise(problem, isa, extra, clear_losers=True)

    holds()


@needs_pairs
def test_pairs_that_are_shared_among_threads():
    for gate in ("branch", "output"):
        roles = ("x", "weight", "bias", "residual", *GATES[gate], "active")
        lists_of_both = ActiveList(3, 16), ActiveList(2, 16)
        spec = Conv2dSpec("conv", roles, Activation("relu"), gate, *lists_of_both, padding=(1,) * 4)
        problem = in_bfloat16(problem_of(spec, 3, 64, 64, (30, 30), (3, 3)), rounds_output=True)
        check_blocked(problem, PAIRS, PAIRS.lanes, (0, 1, 1), residual_dtype="bfloat16")
