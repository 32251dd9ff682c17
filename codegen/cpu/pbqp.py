"""Partitioned Boolean quadratic programming: one alternative for each node, the sum of node and edge costs least.

Sources: Scholz and Eckstein, Register Allocation for Irregular Architectures, LCTES 2002 (the reductions);
Anderson and Gregg, Optimal DNN Primitive Selection with PBQP, CGO 2018 (layers as nodes, layout changes as edges).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

import numpy as np


def minimise(nodes: Mapping[Hashable, Iterable[float]], edges: Iterable[tuple]) -> dict[Hashable, int]:
    """The alternative of each node.

    nodes: costs of a node's alternatives. edges: (one, other, costs [alternatives of one, of the other]); several
    edges between two nodes add up. Exact where nodes of at most two neighbours can be removed one after another, as
    in chains and residual networks; else the node with the most neighbours takes what looks best for it.
    """
    return _Graph(nodes, edges).solve()


class _Graph:
    def __init__(self, nodes, edges):
        self.costs = {node: np.array(list(costs), dtype=float) for node, costs in nodes.items()}
        self.edges: dict[Hashable, dict[Hashable, np.ndarray]] = {node: {} for node in self.costs}
        for one, other, costs in edges:
            self._connect(one, other, np.asarray(costs, dtype=float))

    def solve(self) -> dict[Hashable, int]:
        """Remove all nodes, then decide them in the opposite order."""
        removed = []
        while self.edges:
            node = min(self.edges, key=lambda one: len(self.edges[one]))
            if len(self.edges[node]) > 2:
                node = max(self.edges, key=lambda one: len(self.edges[one]))
                self._fix(node)
            removed.append((node, self._remove(node)))
        chosen: dict[Hashable, int] = {}
        for node, neighbours in reversed(removed):
            total = self.costs[node] + sum(costs[:, chosen[other]] for other, costs in neighbours.items())
            chosen[node] = int(np.argmin(total))
        return chosen

    def _connect(self, one, other, costs: np.ndarray) -> None:
        if one == other:
            self.costs[one] += np.diagonal(costs)
            return
        self.edges[one][other] = self.edges[one].get(other, 0) + costs
        self.edges[other][one] = self.edges[other].get(one, 0) + costs.T

    def _remove(self, node) -> dict[Hashable, np.ndarray]:
        """Take a node out; what it costs at its best becomes a cost of its neighbours, two at most."""
        neighbours = self.edges.pop(node)
        for other in neighbours:
            del self.edges[other][node]
        if len(neighbours) == 1:
            ((other, costs),) = neighbours.items()
            self.costs[other] += (self.costs[node][:, None] + costs).min(0)
        elif len(neighbours) == 2:
            (one, to_one), (other, to_other) = neighbours.items()
            through = self.costs[node][:, None, None] + to_one[:, :, None] + to_other[:, None, :]
            self._connect(one, other, through.min(0))
        return neighbours

    def _fix(self, node) -> None:
        """Decide a node by its own costs and its neighbours' best, and cut it off."""
        total = self.costs[node] + sum((edge + self.costs[other]).min(1) for other, edge in self.edges[node].items())
        best = int(np.argmin(total))
        for other, edge in self.edges[node].items():
            self.costs[other] += edge[best]
            del self.edges[other][node]
        self.edges[node] = {}
        self.costs[node] = np.where(np.arange(len(total)) == best, 0.0, np.inf)
