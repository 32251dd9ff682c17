"""The solver finds the least sum wherever its reductions are exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.codegen.cpu.pbqp import minimise


def total(nodes, edges, chosen) -> float:
    """The cost of a choice."""
    return sum(costs[chosen[node]] for node, costs in nodes.items()) + sum(
        costs[chosen[one], chosen[other]] for one, other, costs in edges
    )


def least(nodes, edges) -> float:
    """The cost of the best choice, by trying all."""
    choices = itertools.product(*(range(len(costs)) for costs in nodes.values()))
    return min(total(nodes, edges, dict(zip(nodes, choice))) for choice in choices)


@st.composite
def graphs(draw, most_neighbours: int):
    """Nodes of up to three alternatives, each joined to at most so many earlier ones."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=7))
    nodes = {node: random.random(size) for node, size in enumerate(sizes)}
    edges = []
    for node in range(1, len(sizes)):
        earlier = draw(st.lists(st.integers(max(0, node - 2), node - 1), max_size=most_neighbours))
        edges += [(node, one, random.random((sizes[node], sizes[one]))) for one in earlier]
    return nodes, edges


@settings(deadline=None)
@given(graphs(most_neighbours=2))
def test_optimal_on_graphs_as_residual_networks_have(graph):
    nodes, edges = graph
    assert total(nodes, edges, minimise(nodes, edges)) == pytest.approx(least(nodes, edges))


def test_a_dense_graph_gets_an_answer_no_worse_than_each_node_for_itself():
    random = np.random.default_rng(0)
    nodes = {node: random.random(3) for node in range(7)}
    edges = [(one, other, random.random((3, 3)) / 20) for one in nodes for other in range(one)]
    alone = {node: int(np.argmin(costs)) for node, costs in nodes.items()}
    assert total(nodes, edges, minimise(nodes, edges)) <= total(nodes, edges, alone)


def test_a_costly_edge_overrules_the_cheaper_node():
    nodes = {"a": [0, 1], "b": [1, 0]}
    assert minimise(nodes, [("a", "b", [[0, 9], [9, 0]])]) in ({"a": 0, "b": 0}, {"a": 1, "b": 1})
    assert minimise(nodes, [("a", "b", [[0, 0.1], [9, 0]])]) == {"a": 0, "b": 1}


def test_an_edge_from_a_node_to_itself_counts_for_its_alternatives():
    assert minimise({"a": [0, 0]}, [("a", "a", [[2, 0], [0, 1]])]) == {"a": 1}
