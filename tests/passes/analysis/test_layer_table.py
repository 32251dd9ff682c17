"""What each layer computes and could have computed, and what that adds up to."""

from __future__ import annotations

import functools

import pytest
from oracles.graphs import pruned
from oracles.networks import concatenating, mobile, plain

from espalier.build import prepare
from espalier.core.layers import LayerRecord
from espalier.core.plan import Plan
from espalier.passes.analysis.layer_table import layer_table


def test_dense_network():
    conv, fc = LayerRecord("conv1", "conv2d", 147456, 147456, 16, 16, 16, 16), (80, 80, 5, 5, 16, 16)
    records = layer_table(prepare(plain(channels=16, size=8)))
    assert [record.name for record in records] == ["conv0", "conv1", "conv2", "fc"]
    assert records[1] == conv
    assert records[3] == LayerRecord("fc", "dense", *fc)


def test_gated_network_counts_both_sides_and_the_gates():
    records = {one.name: one for one in layer_table(pruned(plain(channels=16, size=8), Plan(density=0.5)))}
    dense, gate_in_full, scaling = 16 * 16 * 9 * 64, 16 * 16, 64 * 8
    conv1 = records["conv1"]
    assert (conv1.active_channels, conv1.active_input_channels, conv1.granularity) == (8, 8, 4)
    assert conv1.gate == "output"
    assert conv1.macs_dense == dense
    assert conv1.macs == dense // 4 + gate_in_full // 2 + scaling
    assert records["conv0"].macs == 16 * 3 * 9 * 64 // 2 + 3 * 16 + scaling
    assert records["fc"].macs == 16 * 5 // 2


def test_depthwise_layers_are_cut_once():
    """A depthwise layer has no sum over channels: half of the channels are half of the work."""
    records = {one.name: one for one in layer_table(pruned(mobile(), Plan(density=0.5)))}
    depthwise = records["depthwise1"]
    assert depthwise.macs == depthwise.macs_dense // 2
    assert (depthwise.gate, depthwise.active_channels) == ("listed", 16)


def test_lists_that_run_through_a_concatenation_are_counted():
    plan = Plan(density=0.5, granularity=4)
    records = {one.name: one for one in layer_table(pruned(concatenating(), plan))}
    assert (records["joined"].input_channels, records["joined"].active_input_channels) == (48, 24)


@functools.cache
def resnet18():
    torch = pytest.importorskip("torch")
    from support.networks import ResNet18

    import espalier

    torch.manual_seed(0)
    return espalier.from_torch(ResNet18().eval(), torch.zeros(1, 3, 224, 224))


@pytest.mark.parametrize(("placement", "saving"), [("inner", 1.86), ("branch", 2.79), ("sum", 3.76)])
def test_resnet18_savings_by_placement(placement, saving):
    """The issue's figures for d = 0.5 but for "branch", which it puts at 2.68x: our stem has a gate there too."""
    records = layer_table(pruned(resnet18(), Plan(density=0.5, placement=placement)))
    assert sum(one.macs_dense for one in records) == pytest.approx(1.8146e9, rel=1e-3)
    assert sum(one.macs_dense for one in records) / sum(one.macs for one in records) == pytest.approx(saving, rel=0.02)
