"""One accelerator as it was generated: docs/fpga_pipeline.svg, the design "dense" of bench_fpga.py.

From top to bottom the stages that compute, each with the products that it makes in a cycle and the share of an interval
in which it is busy. Lines are streams, with the lanes in which numbers arrive and the FIFO where it holds more than a
few beats. Forks and adapters are drawn as the lines they are.

    python benchmarks/plot_fpga_pipeline.py
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from support import REPOSITORY
from support.accelerators import DESIGNS, Source

from espalier.codegen.fpga_hls.cost.cycles import graph_interval_cycles, interval_cycles
from espalier.codegen.fpga_hls.graph import StreamGraph
from espalier.codegen.fpga_hls.stages import Adapter, Add, Convolution, Fork, Gate, MaxPool, MeanPool, Stage

OUTPUT = REPOSITORY / "docs" / "fpga_pipeline.svg"
STYLE = {"svg.hashsalt": "espalier", "font.size": 8}
BOX, BUSY, STREAM = "#d7e6f2", "#1b6ca8", "#4b5563"
WIDTH, HEIGHT, STEP, APART = 2.6, 0.5, 1.0, 0.55
"""Of a box; from row to row; of a branch from the line that it leaves."""

NAMES = {MeanPool: "mean", MaxPool: "maximum pooling", Add: "sum", Gate: "channel gate"}
SHALLOW = 8
"""FIFOs of so many beats and fewer are not named."""


@dataclass(frozen=True)
class Stream:
    """From a stage that computes ("" is the host) to another. port: of the sink. depth: of the deepest FIFO between."""

    source: str
    sink: str
    port: str
    lanes: int
    depth: int


def main() -> None:
    model, interval = DESIGNS["dense"]
    graph = Source.of(model).program(interval).graph
    with rc_context(STYLE):
        figure = drawn(graph)
        figure.savefig(OUTPUT, metadata={"Date": None})


def streams(graph: StreamGraph) -> list[Stream]:
    """What leads from each stage that computes, or from the host, to the next ones."""
    moving = {stage.name for stage in graph.stages if isinstance(stage, Fork | Adapter)}
    found = []

    def follow(edge, start: str, depth: int) -> None:
        depth = max(depth, edge.depth)
        if edge.sink not in moving:
            found.append(Stream(start, edge.sink, edge.sink_port, edge.lanes, depth))
            return
        for one in graph.edges:
            if one.source == edge.sink:
                follow(one, start, depth)

    for edge in graph.edges:
        if edge.source not in moving:
            follow(edge, edge.source, 0)
    return found


def described(stage: Stage) -> str:
    """Two lines: what a stage is, and what it does in a cycle."""
    if not isinstance(stage, Convolution):
        return (
            f"{'mean' if type(stage).__name__ == 'MeanPool' else type(stage).__name__}\n{counted(stage.lanes, 'lane')}"
        )
    fold, (channels, made) = stage.folding, (stage.in_shape[2], stage.out_shape[2])
    is_dense = stage.in_shape[:2] == (1, 1)
    kind = "dense" if is_dense else ("depthwise " if stage.is_depthwise else "conv ") + "x".join(map(str, stage.kernel))
    taps = f", {fold.taps} taps" if fold.taps > 1 else ""
    return f"{kind}, {channels} to {made}\n{counted(fold.simd, 'input')}, {counted(fold.pe, 'output')}{taps} a cycle"


def counted(number: int, what: str) -> str:
    """In words."""
    return f"{number} {what}{'s' * (number != 1)}"


def drawn(graph: StreamGraph) -> Figure:
    """The whole design."""
    computing = [stage for stage in graph.stages if not isinstance(stage, Fork | Adapter)]
    lines, interval = streams(graph), graph_interval_cycles(graph)
    residuals = {one.source for one in lines if one.port == "residual" and is_branch(one.source, lines)}
    rows, row = {}, 0
    for stage in computing:
        if stage.name not in residuals:
            rows[stage.name], row = (0.0, row * STEP), row + 1
    for stage in computing:  # a branch's stage beside the one that starts where it does
        if stage.name in residuals:
            (start,) = [one.source for one in lines if one.sink == stage.name]
            rows[stage.name] = (WIDTH + APART, rows[start][1] + STEP)
    figure = Figure(figsize=(6.4, 0.62 * row + 0.9), layout="constrained")
    place = figure.subplots()
    for stage in computing:
        box(place, rows[stage.name], described(stage), interval_cycles(stage) / interval)
    for one in lines:
        line(place, one, rows, row)
    place.set_xlim(-WIDTH * 0.55, WIDTH * 1.75)
    place.set_ylim(row * STEP, -STEP)
    place.set_axis_off()
    place.set_title(
        f"ResNet-8 in int8 on an XC7Z020: an image every {interval:,} cycles; bars: how much of that a stage is busy",
        fontsize=8, loc="left",
    )  # fmt: skip
    return figure


def is_branch(stage: str, lines: list[Stream]) -> bool:
    """Whether a stage has no other reader than a residual."""
    return stage != "" and all(one.port == "residual" for one in lines if one.source == stage)


def box(place, at: tuple[float, float], text: str, share: float) -> None:
    """A stage, with how busy it is below its text."""
    x, y = at[0] - WIDTH / 2, at[1] - HEIGHT / 2
    place.add_patch(FancyBboxPatch((x, y), WIDTH, HEIGHT, "round,pad=0.02", fc=BOX, ec=STREAM, lw=0.6))
    place.add_patch(Rectangle((x, y + HEIGHT - 0.07), WIDTH * share, 0.07, fc=BUSY, lw=0))
    place.text(at[0], at[1] - 0.05, text, ha="center", va="center", fontsize=7, linespacing=1.25)


def line(place, one: Stream, rows: dict[str, tuple[float, float]], count: int) -> None:
    """A stream: straight down, or around what lies between."""
    start, end = rows.get(one.source, (0.0, -STEP)), rows.get(one.sink, (0.0, (count - 0.4) * STEP))
    top, bottom = start[1] + HEIGHT / 2 + 0.03, end[1] - HEIGHT / 2 - 0.03
    if one.source == "":
        top = start[1] + 0.45
        place.text(start[0] - 0.1, top, "AXI-Stream in", ha="right", va="top", fontsize=7, color=STREAM)
    if one.sink == "":
        bottom = end[1] + HEIGHT / 2
        place.text(end[0] - 0.1, bottom, "AXI-Stream out", ha="right", va="bottom", fontsize=7, color=STREAM)
    lanes = counted(one.lanes, "lane")
    fifo = f"FIFO of {one.depth:,}" if one.depth > SHALLOW else ""
    if one.port != "residual" and start[0] == end[0]:
        arrow(place, [(start[0], top), (end[0], bottom)])
        place.text(start[0] + 0.08, (top + bottom) / 2, lanes, va="center", fontsize=6.5, color=STREAM)
    elif one.port != "residual":  # to the branch's stage
        middle = top + 0.12
        arrow(place, [(start[0] + WIDTH / 4, top), (start[0] + WIDTH / 4, middle), (end[0], middle), (end[0], bottom)])
        place.text(end[0] + 0.08, (middle + bottom) / 2, lanes, va="center", fontsize=6.5, color=STREAM)
    elif start[0] == end[0]:  # around the stages between
        aside, right = start[0] + WIDTH / 2 + APART / 2, start[0] + WIDTH / 2
        arrow(place, [(start[0] + WIDTH / 4, top), (start[0] + WIDTH / 4, top + 0.12), (aside, top + 0.12),
                      (aside, end[1]), (right + 0.03, end[1])])  # fmt: skip
        place.text(aside + 0.08, (top + end[1]) / 2, f"residual, {fifo}", va="center", fontsize=6.5, color=STREAM)
    else:  # from the branch's stage back
        arrow(place, [(start[0], top), (start[0], end[1]), (end[0] + WIDTH / 2 + 0.03, end[1])])
        place.text(start[0] + 0.08, (top + end[1]) / 2, f"residual, {fifo}", va="center", fontsize=6.5, color=STREAM)


def arrow(place, points: list[tuple[float, float]]) -> None:
    """A line through the points, with a head at its end."""
    *before, (x, y), (to_x, to_y) = points
    if before:
        place.plot(*zip(*before, (x, y)), color=STREAM, lw=0.8)
    place.annotate("", (to_x, to_y), (x, y), arrowprops={"arrowstyle": "-|>", "color": STREAM, "lw": 0.8,
                                                         "shrinkA": 0, "shrinkB": 0, "mutation_scale": 7})  # fmt: skip


if __name__ == "__main__":
    main()
