"""Emitted C++ of gated graphs: the oracle's numbers bit for bit, with streams as deep as the schedule makes them."""

from __future__ import annotations

import numpy as np
import pytest

from espalier.codegen.fpga_hls.fifo_depths import with_fifo_depths
from espalier.codegen.fpga_hls.hls.emit import emit
from espalier.measure.fpga.hls_simulation import build_hls
from tests.oracles.stream_graphs import gated_network, meaning


@pytest.mark.parametrize("has_pi", [True, False])
def test_the_cpp_of_gates_is_the_oracle(has_pi, tmp_path):
    graph = with_fifo_depths(gated_network(has_pi))
    for path, text in emit(graph, "xc7z020clg400-1", 100e6).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    x = np.random.default_rng(1).integers(0, 256, (5, *graph.input.shape)).astype(np.uint8)
    found = build_hls(tmp_path, tmp_path / "build", exact_widths=False).run(x, meaning(graph, x))
    assert found.wrong == 0
