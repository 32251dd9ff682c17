"""The choices that folding has for a stage."""

from __future__ import annotations

import pytest
from oracles import stream_graphs

from espalier.codegen.fpga_hls.stage_options import levels_in_dsps
from espalier.codegen.fpga_hls.stages import Products


@pytest.mark.parametrize(
    ("products", "bits"),
    [
        (Products("shift", 4), 5),
        (Products("focused", 5, ((-20, 2), (9, 1))), 6),
        (Products("focused", 4, ((3, 1),)), 4),
        (Products("binary", 1), 2),
    ],
)
def test_levels_have_as_many_bits_as_they_take(products, bits):
    """Shifts up to 8, -28 to 13, -1 to 7, signs."""
    stage = stream_graphs.one_conv(16, 16, products=products).stages[0]
    assert levels_in_dsps(stage) == [Products("dsp", bits)]


@pytest.mark.parametrize("kind", ["dsp", "lut"])
def test_levels_that_are_multiplied_stay_as_they_are(kind):
    assert levels_in_dsps(stream_graphs.one_conv(products=Products(kind, 5)).stages[0]) == []
