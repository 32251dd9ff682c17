"""Convolutions of bytes equal the integers, bit for bit, on every instruction set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from oracles.convolutions import halos, problems
from oracles.integer_layers import check_convolution, quantized
from oracles.running import drawn, every_isa_of_bytes


@every_isa_of_bytes
def test_quads_of_channels(isa):
    @drawn(24 if isa.permute else 6)
    @given(quantized(problems()), st.sampled_from(["blocked", "quads"]), halos(), st.booleans(), st.integers(0, 2))
    def holds(problem, family, extra, clear_losers, seed):
        check_convolution(problem, isa, family, extra, clear_losers, seed)

    holds()


@every_isa_of_bytes
def test_planes_of_bytes(isa):
    @drawn(3)
    @given(quantized(problems(grouped=True)), halos(), st.integers(0, 2))
    def holds(problem, extra, seed):
        check_convolution(problem, isa, "planar", extra, seed=seed)

    holds()
