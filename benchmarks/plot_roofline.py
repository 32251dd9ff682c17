"""The roofline: what every layer and network reaches of the peak and of the bandwidths, from the records.

Reads kernels.json and models.json, writes docs/roofline.svg; the same records give the same bytes.
After: Williams, Waterman and Patterson, Roofline, CACM 2009.

    python benchmarks/plot_roofline.py
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from support import REPOSITORY
from support.records import FOLDER

OUTPUT = REPOSITORY / "docs" / "roofline.svg"
CLASSES = {  # Okabe and Ito's colours, which stay apart for the colour-blind; a shape each as well
    "3x3": ("#0072B2", "o", "3x3"),
    "1x1": ("#E69F00", "s", "1x1"),
    "strided": ("#009E73", "^", "stride 2"),
    "first": ("#CC79A7", "D", "first of a network"),
    "depthwise": ("#D55E00", "v", "depthwise"),
}
OURS = {"s": 40, "c": "#000000"}
PEERS = {  # open marks, so that ours stays visible where both reach the same
    "onnxruntime": ("ONNX Runtime", {"s": 46, "c": "white", "marker": "s", "edgecolors": "#56B4E9", "linewidths": 1.8}),
    "openvino": ("OpenVINO", {"s": 50, "c": "white", "marker": "D", "edgecolors": "#D55E00", "linewidths": 1.6}),
    "torch.compile": ("torch.compile", {"s": 60, "c": "white", "marker": "^", "edgecolors": "#009E73"}),
}
X_TICKS, Y_TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200), (50, 70, 100, 150, 200, 250, 300, 400, 500, 700, 900)
NEAR, STAIR = 1.8, 1.07
"""Labels of networks whose x differ by less than the first factor go down in steps of the second."""
STYLE = {"svg.hashsalt": "espalier", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def main() -> None:
    kernels, models = (json.loads((FOLDER / f"{name}.json").read_text())["results"] for name in ("kernels", "models"))
    save(kernels, models, OUTPUT)


def save(kernels: dict, models: list[dict], path: Path) -> None:
    """Draw both panels into an SVG file."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 5.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        marks = sorted(network_marks(kernels["networks"], models))
        draw_frame(left, "single layers", (0.35, 400), 45)
        draw_frame(right, "whole networks", (4.2, 80), 140)
        draw_layers(left, kernels)
        draw_networks(right, marks)
        for axes in (left, right):
            draw_roofs(axes, kernels["roofs"])
            axes.set_ylim(top=1.15 * max(axes.dataLim.ymax, kernels["roofs"]["peak_flops"] / 1e9))
        figure.suptitle("Dense float32 networks at batch 1, one thread, under the measured roofs")
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def draw_frame(axes: Axes, title: str, x_range: tuple[float, float], bottom: float) -> None:
    """Logarithmic axes with plain numbers."""
    axes.set(xscale="log", yscale="log", title=title, ylabel="GFLOP/s")
    axes.set_xlabel("FLOP per byte of input, weights and output")
    for axis, ticks in ((axes.xaxis, X_TICKS), (axes.yaxis, Y_TICKS)):
        axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axes.set_xlim(x_range)
    axes.set_ylim(bottom=bottom)
    axes.minorticks_off()
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def draw_roofs(axes: Axes, roofs: dict[str, float]) -> None:
    """The peak, and for each level of memory the line that its bandwidth allows below it."""
    peak, line = roofs["peak_flops"] / 1e9, {"color": "#777777", "linewidth": 1}
    bandwidths = {name.split("_")[0]: value / 1e9 for name, value in roofs.items() if name.endswith("bytes_per_s")}
    (first, last), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    corner, text = max(first, peak / max(bandwidths.values())), {"color": "#555555", "fontsize": 8}
    axes.plot([corner, last], [peak, peak], **line)
    axes.text(corner * 1.05, peak * 1.01, f"multiply-adds in registers, {peak:.0f} GFLOP/s", va="bottom", **text)
    for level, bandwidth in bandwidths.items():
        start = max(first, bottom / bandwidth)
        if start * bandwidth < peak:
            axes.plot([start, peak / bandwidth], [start * bandwidth, peak], **line)
            slope = {"rotation": math.degrees(math.atan(bandwidth)), "transform_rotates_text": True}
            place = (start * 1.06, start * bandwidth * 1.04)
            axes.text(*place, f"{level}, {bandwidth:.0f} GB/s", rotation_mode="anchor", va="top", **slope, **text)


def draw_layers(axes: Axes, kernels: dict) -> None:
    """The best direct kernel of each layer, and open above it Winograd's where the compiler takes that.

    A mark is the share of the peak measured beside the layer, of the peak drawn.
    """
    peak = kernels["roofs"]["peak_flops"] / 1e9
    for kind, (colour, marker, label) in CLASSES.items():
        found = [row for row in kernels["layers"] if row["class"] == kind]
        y = [row["dense"]["direct_share"] * peak for row in found]
        style = {"marker": marker, "alpha": 0.75, "linewidths": 0}
        axes.scatter(intensities(found), y, 20, colour, label=f"{label} ({len(found)})", **style)
    faster = [row for row in kernels["layers"] if row["dense"]["family"].startswith("winograd")]
    if faster:
        y = [row["dense"]["share"] * peak for row in faster]
        label = f"by Winograd, as if direct ({len(faster)})"
        axes.scatter(intensities(faster), y, 20, "none", edgecolors=CLASSES["3x3"][0], label=label)
    axes.legend(loc="lower right", frameon=False, title="distinct convolutions", alignment="left")


def intensities(rows: list[dict]) -> list[float]:
    """FLOP per byte of layers."""
    return [2 * row["macs"] / row["bytes"] for row in rows]


def draw_networks(axes: Axes, marks: list[tuple[float, float, float, str, str]]) -> None:
    """What `network_marks` returns, in ascending order."""
    last_x, level = 0.0, 0.0
    for x, mine, best, peer, label in marks:
        free = min(mine, best) / 1.025
        last_x, level = x, min(free, level / STAIR) if x < last_x * NEAR else free
        axes.plot([x, x], [max(mine, best), level], color="#999999", linewidth=0.7, zorder=1)
        axes.scatter([x], [best], **PEERS[peer][1])
        axes.scatter([x], [mine], **OURS)
        axes.text(x / 1.03, level, label, ha="right", va="center")
    axes.scatter([], [], label="Espalier", **OURS)
    for peer in sorted({mark[3] for mark in marks}):
        name, style = PEERS[peer]
        axes.scatter([], [], label=f"{name}, where it is the fastest peer", **style)
    axes.legend(loc="lower right", frameon=False)


def network_marks(networks: dict[str, dict], models: list[dict]) -> list[tuple[float, float, float, str, str]]:
    """(FLOP per byte of all layers, our GFLOP/s, the best peer's, that peer, network) on one thread."""
    marks = []
    for row in models:
        if row["threads"] == 1:
            work, best = networks[row["network"]], row["best_peer"]
            speeds = (2e-9 * work["macs"] / row["latency_s"][name] for name in ("espalier", best))
            marks.append((2 * work["macs"] / work["bytes"], *speeds, best, row["network"]))
    return marks


if __name__ == "__main__":
    main()
