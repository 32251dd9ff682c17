"""What the benchmark of MobileNet on an FPGA relies on: a chain of stages cut into parts that compute what it does."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import stream_graphs
from support import mobilenet_stages as stages

from espalier.codegen.fpga_hls.graph import HOST
from espalier.codegen.fpga_hls.network import Choice, assembled
from espalier.codegen.fpga_hls.stages import Adapter, Convolution, Folding


@pytest.fixture(scope="module")
def graph():
    builder = stream_graphs.GraphBuilder(9, 9, 3)
    y = builder.conv(HOST, 8, stride=(2, 2), folding=Folding(3, 4, 9))
    y = builder.conv(y, 8, kind="depthwise", stride=(2, 2), folding=Folding(8, 8, 3))
    y = builder.conv(y, 16, kernel=(1, 1), folding=Folding(4, 8))
    return builder.graph(builder.conv(builder.mean_pool(y), 6, kernel=(1, 1), is_raw=True))


def test_parts_compute_what_the_chain_does(graph):
    x = np.random.default_rng(0).integers(0, 256, graph.input.shape).astype(np.uint8)
    expected, found = stream_graphs.meaning(graph, x[None])[0], list(stages.parts(graph))
    for stage, part in found:
        y = stages.computed(stage, x)
        assert np.array_equal(stream_graphs.meaning(part, x[None])[0], y)
        x = y
    assert np.array_equal(x, expected)
    assert sum(len(part.stages) for _, part in found) == len(graph.stages) > len(found)


def test_a_chain_can_be_folded_again(graph):
    network = stages.chain(graph)
    choices = {
        stage.name: Choice(folding=stage.folding) if isinstance(stage, Convolution) else Choice(stage.lanes)
        for stage in network.stages
    }
    again = assembled(network, choices)
    assert [type(stage) for stage in again.stages] == [type(stage) for stage in graph.stages]
    rest = assembled(stages.behind_the_first(network), choices)
    assert rest.input.shape == (5, 5, 8)
    assert len([one for one in rest.stages if not isinstance(one, Adapter)]) == len(network.stages) - 1


def test_pointwise_and_dense_layers_get_shifts(graph):
    kinds = [stage.products.kind for stage in stages.with_shifts(stages.chain(graph)).stages if hasattr(stage, "kind")]
    assert kinds == ["dsp", "dsp", "shift", "shift"]
