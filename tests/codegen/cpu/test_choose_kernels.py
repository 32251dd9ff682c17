"""Kernels are chosen together: a change of layout is weighed against what the kernels on both sides save."""

from __future__ import annotations

import pytest
from oracles.graphs import Graph
from oracles.networks import residual

from espalier.build import prepare
from espalier.codegen.cpu import choose_kernels as chooser
from espalier.codegen.cpu.choose_kernels import choose_kernels, problem_of
from espalier.codegen.cpu.select import candidates
from espalier.ir.dataflow import Dataflow
from espalier.targets.cpu import ISAS

AVX512 = ISAS[0]


def mixed():
    """Wide, narrow, wide: alone, the layer of 8 channels would rather be vectorised over pixels."""
    g = Graph(1, 64, 32, 32)
    y = g.relu(g.conv(g.x, "first", 64))
    y = g.relu(g.conv(y, "narrow", 8, kernel=1))
    y = g.relu(g.conv(y, "last", 64, kernel=1))
    return prepare(g.module(y))


def chosen(mod):
    """(family, block of x, block of the output) by layer name."""
    flow = Dataflow.of(mod)
    return {
        flow.layer_of(var)[1].name: (one.family.name, one.x_block, one.family.out_block)
        for var, one in choose_kernels(flow, AVX512).items()
    }


def test_without_costs_of_change_each_layer_takes_its_best(monkeypatch):
    monkeypatch.setattr(chooser, "CHANGE_CYCLES", 0.0)
    flow = Dataflow.of(mixed())
    best = {
        flow.layer_of(var)[1].name: candidates(problem_of(flow, var, AVX512), AVX512)[0].name
        for var in choose_kernels(flow, AVX512)
    }
    assert {name: family for name, (family, _, _) in chosen(mixed()).items()} == best
    assert len(set(best.values())) > 1


@pytest.mark.parametrize("network", [mixed, lambda: prepare(residual(32))])
def test_with_dear_changes_neighbours_agree(network, monkeypatch):
    monkeypatch.setattr(chooser, "CHANGE_CYCLES", 1e9)
    blocks = [(x, out) for _, x, out in chosen(network()).values()]
    assert len({out for _, out in blocks}) == 1
    assert {x for x, _ in blocks} <= {blocks[0][1], 1}
