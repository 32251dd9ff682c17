"""How many beats each stream has to hold so that nothing ever waits for room, and that a graph cannot stop."""

from __future__ import annotations

from espalier.core.errors import InfeasibleDesignError

from .graph import StreamGraph
from .timing import schedule

SLACK = 2
"""Beats more than the schedule needs: a FIFO says that it has room a cycle late."""

DEEPEST = 1 << 16


def with_fifo_depths(graph: StreamGraph) -> StreamGraph:
    """The graph with FIFOs that hold what its schedule asks for.

    Raises InfeasibleDesignError if a stream would need more than `DEEPEST` beats.
    """
    graph = graph.with_depths(_depths(graph))
    depths = _depths(graph)
    while any(edge.depth < depths[edge.name] for edge in graph.edges):  # deep FIFOs are slower, so that others wait
        graph = graph.with_depths({edge.name: max(edge.depth, depths[edge.name]) for edge in graph.edges})
        depths = _depths(graph)
    return graph


def _depths(graph: StreamGraph) -> dict[str, int]:
    """By the schedule of the graph with the FIFOs that it has."""
    depths = {name: most + SLACK for name, most in schedule(graph).high_water.items()}
    for stage in graph.convolutions():
        if stage.winners:  # the map waits for the winners, whatever part of it a line buffer may hold
            waiting = graph.into(stage)[0]
            depths[waiting.name] = max(depths[waiting.name], waiting.beats)
    name = max(depths, key=depths.get)
    if depths[name] > DEEPEST:
        raise InfeasibleDesignError(
            f"stream {name}: needs a FIFO of {depths[name]} beats, accepted are {DEEPEST}: its branches are too unequal"
        )
    return depths
