"""Emitted C++, simulated: the oracle's numbers bit for bit, in types of exact widths; deadlocks that are told."""

from __future__ import annotations

import shutil

import pytest

from espalier.codegen.fpga_hls.fifo_depths import with_fifo_depths
from espalier.codegen.fpga_hls.graph import HOST
from espalier.codegen.fpga_hls.stages import Folding
from espalier.core.errors import InvalidInputError
from espalier.measure.fpga.hls_simulation import EmulationError, build_hls
from tests.hls_projects import images, needs_headers, written
from tests.oracles.stream_graphs import (
    GraphBuilder,
    channels_of_their_own,
    every_kind,
    every_level_in_dsps,
    every_product,
    gated_network,
    meaning,
    residual_network,
    several_pixels,
)

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def simulated(graph, folder, exact_widths=True, packs=True):
    """Asserts that random images give the oracle's numbers."""
    x = images(graph)
    found = build_hls(written(graph, folder, packs), folder / "build", exact_widths).run(x, meaning(graph, x))
    assert found.wrong == 0


@needs_headers
@pytest.mark.parametrize("graph", [every_kind, every_product, every_level_in_dsps, residual_network, several_pixels])
def test_every_stage_and_product_is_the_oracle(graph, tmp_path):
    """With streams as deep as the schedule makes them."""
    simulated(with_fifo_depths(graph()), tmp_path)


@needs_headers
@pytest.mark.parametrize("has_pi", [True, False])
@pytest.mark.parametrize("graph", [gated_network, channels_of_their_own])
def test_gates_are_the_oracle(graph, has_pi, tmp_path):
    simulated(with_fifo_depths(graph(has_pi)), tmp_path)


@pytest.mark.parametrize("packs", [True, False])
def test_integers_of_32_bits_compute_the_same(packs, tmp_path):
    simulated(every_product(), tmp_path, exact_widths=False, packs=packs)


def test_a_fork_whose_shallow_side_fills_is_a_deadlock(tmp_path):
    one = GraphBuilder(8, 8, 2)
    trunk, shortcut = one.fork(one.conv(HOST, 2, folding=Folding(2, 2, 9)))
    trunk = one.conv(trunk, 2, folding=Folding(2, 2, 9))
    graph = one.graph(one.add(trunk, shortcut, 2), depth=2)
    bench = build_hls(written(graph, tmp_path), tmp_path / "build", exact_widths=False)
    waits = "fork1 waits to write fork1_y1_to_add3_other;.* add3 waits to read conv2_y_to_add3_x;.* its log is "
    x = images(graph)
    with pytest.raises(EmulationError, match=f"HLS C.*: deadlock:.* {waits}"):
        bench.run(x, meaning(graph, x))


def test_as_many_results_as_images_are_accepted(tmp_path):
    graph = every_kind()
    x = images(graph)
    bench = build_hls(written(graph, tmp_path), tmp_path / "build", exact_widths=False)
    with pytest.raises(InvalidInputError, match="got 3 images and 2 results, accepted is 1 each"):
        bench.run(x, meaning(graph, x)[:2])
