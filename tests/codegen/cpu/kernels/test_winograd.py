"""Winograd convolution computes what the layer's formula says, however its work is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from oracles.convolutions import ACTIVATIONS, GATES, check_winograd, halos, in_bfloat16, lists, problem_of
from oracles.running import drawn, every_isa

from espalier.codegen.cpu.kernels.problem import ConvProblem
from espalier.codegen.cpu.kernels.winograd_tile import WinogradTile
from espalier.core.layers import Conv2dSpec


@st.composite
def winograd_problems(draw, isa) -> tuple[ConvProblem, WinogradTile | None]:
    """A 3x3 layer at stride one over whole blocks, and a cut of its work; None is the one that the rule takes."""
    c_in, c_out = draw(st.sampled_from([17, 64])), draw(st.sampled_from([3, 17, 64]))
    padding = draw(st.sampled_from([(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 2, 3)]))
    image = draw(st.sampled_from([(3, 3), (7, 3), (4, 9), (14, 13)]))
    winners, active = draw(st.none() | lists(c_out, isa.lanes)), draw(st.none() | lists(c_in, isa.lanes))
    gate = draw(st.sampled_from(["branch", "output", "listed"])) if winners else "none"
    more = draw(st.lists(st.sampled_from(["bias", "residual"]), unique=True))
    roles = ("x", "weight", *more, *GATES[gate], *(["active"] if active else []))
    spec = Conv2dSpec("conv", roles, draw(st.sampled_from(ACTIVATIONS)), gate, winners, active, padding=padding)
    problem = problem_of(spec, draw(st.integers(1, 2)), c_in, c_out, image, (3, 3))
    chunk, blocks = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    parts = draw(st.sampled_from([p for p in (1, 2, 3) if -(-problem.computed_out // isa.lanes) % p == 0]))
    columns = draw(st.integers(1, max(1, min(chunk, (isa.registers - 4) // blocks))))
    return problem, draw(
        st.none() | st.just(WinogradTile(draw(st.sampled_from([2, 3, 4])), chunk, blocks, columns, parts))
    )


@every_isa
def test_winograd(isa):
    @drawn(20)
    @given(winograd_problems(isa), halos(), st.booleans(), st.sampled_from(["float32", "bfloat16"]))
    def holds(problem_and_tile, extra, clear_losers, dtype):
        problem, tile = problem_and_tile
        if dtype == "bfloat16":
            problem = in_bfloat16(problem, rounds_output=False)
        check_winograd(problem, isa, extra, clear_losers, tile)

    holds()
