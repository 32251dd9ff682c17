"""Every convolution kernel computes what the layer's formula says, whatever the shapes, lists and layouts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from oracles.convolutions import (
    GATES,
    check_blocked,
    check_depthwise,
    check_planar,
    check_winograd,
    depthwise_problems,
    halos,
    problem_of,
    problems,
)
from oracles.running import drawn, every_isa

from espalier.codegen.cpu.kernels import conv2d_blocked as blocked
from espalier.core.layers import Activation, ActiveList, Conv2dSpec


@every_isa
def test_blocked(isa):
    @drawn(20)
    @given(problems(isa.lanes), st.booleans(), halos(), st.booleans())
    def holds(problem, plain_input, extra, clear_losers):
        x_block = 1 if plain_input else isa.lanes
        check_blocked(problem, isa, x_block, extra, clear_losers)

    holds()


@every_isa
def test_planar(isa):
    @drawn(20)
    @given(problems(), halos(), st.booleans())
    def holds(problem, extra, clear_losers):
        check_planar(problem, isa, extra, clear_losers)

    holds()


@every_isa
def test_planar_with_groups(isa):
    @drawn(8)
    @given(problems(grouped=True), halos())
    def holds(problem, extra):
        check_planar(problem, isa, extra)

    holds()


@every_isa
def test_depthwise(isa):
    @drawn(12)
    @given(depthwise_problems(), halos(), st.booleans())
    def holds(problem, extra, clear_losers):
        check_planar(problem, isa, extra, clear_losers)
        winners = problem.spec.winners
        if winners is None or winners.granularity % isa.lanes == 0:
            check_depthwise(problem, isa, extra, clear_losers)

    holds()


@every_isa
def test_blocked_with_any_tile(isa):
    """Tiles that do not divide rows, columns or blocks, over a list of winners as over all channels."""
    for winners, tile in [(None, (3, 2, 5)), (ActiveList(3, 16), (2, 3, 4)), (ActiveList(1, 16), (1, 1, 1))]:
        roles = ("x", "weight", *GATES["output" if winners else "none"])
        spec = Conv2dSpec("conv", roles, Activation("relu"), "output" if winners else "none", winners, padding=(1,) * 4)
        check_blocked(problem_of(spec, 2, 20, 64, (7, 9), (3, 3)), isa, 1, (0, 1, 0), tile=blocked.Tile(*tile))


@every_isa
def test_work_that_is_shared_among_threads(isa):
    """Large enough for parallel loops, losers included."""
    for gate in ("branch", "output"):
        roles = ("x", "weight", "bias", "residual", *GATES[gate], "active")
        lists_of_both = ActiveList(3, 16), ActiveList(2, 16)
        spec = Conv2dSpec("conv", roles, Activation("relu"), gate, *lists_of_both, padding=(1,) * 4)
        problem = problem_of(spec, 3, 64, 64, (30, 30), (3, 3))
        check_blocked(problem, isa, isa.lanes, (0, 1, 1))
        check_planar(problem, isa, (0, 1, 1))
        check_winograd(problem, isa, (0, 1, 1))
