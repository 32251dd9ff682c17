"""What the models of LUTs and flip-flops are linear in."""

from __future__ import annotations

import json

import pytest
from oracles import stream_graphs

from espalier.codegen.fpga_hls.cost.resources import COEFFICIENTS, features, resources
from espalier.codegen.fpga_hls.stages import Folding, Products


def of(folding: Folding, size=(8, 8), inputs=4, kernel=(3, 3), products=None, family="xc7") -> dict[str, float]:
    graph = stream_graphs.one_conv(inputs, 8, size, kernel=kernel, folding=folding, products=products or Products())
    return features(graph.stages[0], family)


KINDS = {
    "dsp": Products(),
    "lut": Products("lut", 4),
    "shift": Products("shift", 4),
    "binary": Products("binary", 1),
    "focused": Products("focused", 5, ((-20, 2), (9, 1))),
}
GRAPHS = [
    stream_graphs.every_kind,
    stream_graphs.residual_network,
    stream_graphs.gated_network,
    stream_graphs.every_recentred,
    stream_graphs.several_pixels,
]


@pytest.mark.parametrize("family", ["xc7", "ecp5"])
@pytest.mark.parametrize("chosen", ["by_hand", "coefficients"])
def test_every_feature_has_a_coefficient(chosen, family):
    """Of both resources, and of one of them at least above 0."""
    stages = [stage for graph in GRAPHS for stage in graph().stages]
    stages += [stream_graphs.one_conv(products=products).stages[0] for products in KINDS.values()]
    for stage in stages:
        luts, ffs = (
            json.loads(COEFFICIENTS.read_text())[family][chosen][type(stage).__name__][kind] for kind in ("luts", "ffs")
        )
        assert all(luts[name] + ffs[name] > 0 for name in features(stage, family)), stage.name


@pytest.mark.parametrize("kind", KINDS)
def test_more_products_take_more(kind):
    """In look-up tables, but for those of DSP blocks, and in flip-flops."""
    few, many = (
        resources(stream_graphs.one_conv(8, 8, folding=Folding(8, pe), products=KINDS[kind]).stages[0]) for pe in (1, 8)
    )
    assert many.ffs > few.ffs
    assert many.luts - few.luts > (0 if kind == "dsp" else 56 * 8)


def test_products_that_share_no_block_are_added_in_their_blocks():
    """Sums of 4 products have 3 additions of 16 bits."""
    alone, packed, lut = of(Folding(4, 1)), of(Folding(4, 2)), of(Folding(4, 1), products=Products("lut"))
    assert (alone["tree_bits"], alone["single_tree_bits"]) == (0, 48)
    assert (packed["tree_bits"], packed["single_tree_bits"]) == (96, 0)
    assert (lut["tree_bits"], lut["single_tree_bits"]) == (48, 0)


@pytest.mark.parametrize(("inputs", "wraps"), [(4, False), (3, True)])
def test_a_ring_of_a_power_of_two_wraps_by_itself(inputs, wraps):
    """4 rows of 8 pixels: 128 or 96 words, whose addresses have 8 bits with the one that tells of a wrap."""
    found = of(Folding(1, 1), inputs=inputs)
    assert (found["ring_bits"], found["wrap_bits"]) == (24, 24 if wraps else 0)


def test_pixels_that_are_computed_together_share_weights_alone():
    """Twice as many sums, products and inputs, and the words of weights that one pixel has; and what is corrected."""
    one, two = (of(Folding(4, 8, 9, pixels)) for pixels in (1, 2))
    for name in ("tree_bits", "sum_bits", "dsp_products", "packed_inputs", "out_lanes"):
        assert two[name] == 2 * one[name], name
    assert two["lutrom_bits"] == one["lutrom_bits"]
    assert two.keys() - one.keys() == {"waiting_bits", "corrected_bits"}
    assert two["waiting_bits"] == 2 * two["corrected_bits"] == two["sum_bits"]


def test_a_window_of_one_pixel_is_never_outside():
    assert of(Folding(1, 1), kernel=(1, 1))["tap_position_bits"] == 0
    one, three = (of(Folding(1, 1, taps))["tap_position_bits"] for taps in (1, 3))
    assert three == 3 * one > 0


def test_an_ecp5_keeps_what_goes_around_blocks():
    """A line buffer of 4 rows of 64 words of 32 bits, in a block there; nothing is in registers of more banks."""
    small, large = (of(Folding(4, 1), size=size, family="ecp5") for size in ((8, 8), (8, 64)))
    assert (small["lutram_bits"], small["bypassed_bits"]) == (32 * 4 / 2, 0)
    assert (large["lutram_bits"], large["bypassed_bits"], large["kept_bits"]) == (0, 32, 32 + 8)
    assert large["bank_bits"] == 0 < of(Folding(4, 1), size=(8, 1024), family="ecp5")["bank_bits"]
    assert "kept_bits" not in of(Folding(4, 1), size=(8, 64))


def test_families_have_coefficients_of_their_own():
    stage = stream_graphs.one_conv(8, 8, folding=Folding(8, 2)).stages[0]
    ours, narrow = (resources(stage, family) for family in ("xc7", "ecp5"))
    assert resources(stage, "xcup") == ours
    assert (narrow.luts > ours.luts, narrow.ffs > ours.ffs, narrow.dsps > ours.dsps) == (True, True, True)
