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
    return graph.with_depths(depths)


def check_depths(graph: StreamGraph) -> None:
    """Raise InfeasibleDesignError if a FIFO is shallower than the schedule needs: the graph might stop for good."""
    high_water = schedule(graph).high_water
    for edge in graph.edges:
        needed = high_water[edge.name]
        if edge.depth < needed:
            raise InfeasibleDesignError(
                f"stream {edge.name}: its FIFO holds {edge.depth} beats and the schedule needs {needed}, so the design "
                f"might wait forever; accepted is {needed} or more"
            )
