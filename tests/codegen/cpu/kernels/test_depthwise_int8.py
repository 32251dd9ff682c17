"""Depthwise convolutions of bytes equal the integers, bit for bit, on every instruction set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from oracles.convolutions import depthwise_problems, halos
from oracles.integer_layers import check_convolution, quantized
from oracles.running import drawn, every_isa_of_bytes


@every_isa_of_bytes
def test_depthwise_of_bytes(isa):
    @drawn(24 if isa.permute else 6)
    @given(quantized(depthwise_problems()), halos(), st.booleans(), st.integers(0, 2))
    def holds(problem, extra, clear_losers, seed):
        check_convolution(problem, isa, "depthwise", extra, clear_losers, seed)

    holds()
