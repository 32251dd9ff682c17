"""What searches found: docs/search.svg from search.json (samplers) and search_front.json (networks built and measured).

python benchmarks/plot_search.py
"""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from support import REPOSITORY
from support.records import FOLDER

OUTPUT = REPOSITORY / "docs" / "search.svg"
STYLE = {"svg.hashsalt": "espalier", "font.size": 8}
TARGETS = {"llvm": "CPU: accuracy and latency", "fpga_hls/pynq-z2": "XC7Z020: accuracy and cycles"}
WAYS = {
    "nsga2": ("NSGA-II", "#1b6ca8", "o-"),
    "qlognehvi": ("qLogNEHVI", "#2f855a", "s-"),
    "staged": ("one thing after the other", "#c8553d", "^-"),
    "random": ("random", "#6b7280", "x:"),
}


def main() -> None:
    save(results("search"), results("search_front")["rows"], OUTPUT)


def results(record: str):
    """What a record holds."""
    return json.loads((FOLDER / f"{record}.json").read_text())["results"]


def save(samplers: list[dict], built: list[dict], output: Path) -> None:
    """Draw it."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        axes = figure.subplots(1, 3)
        for place, (target, title) in zip(axes, TARGETS.items()):
            draw_samplers(place, [row for row in samplers if row["target"] == target and "shares" in row], title)
        draw_built(axes[2], built)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=4, frameon=False)
        figure.savefig(output, metadata={"Date": None})


def draw_samplers(place, rows: list[dict], title: str) -> None:
    """A line for each way, with the standard deviation over its seeds as a band."""
    for row in rows:
        label, colour, style = WAYS[row["way"]]
        steps, shares = zip(*((int(step), share) for step, share in row["shares"].items()))
        lower, upper = zip(*((share - row["deviations"][step], share + row["deviations"][step])
                             for step, share in row["shares"].items()))  # fmt: skip
        place.plot(steps, shares, style, color=colour, label=label, ms=4)
        place.fill_between(steps, lower, upper, color=colour, alpha=0.12, lw=0)
    place.set_title(title)
    place.set_xlabel("evaluations")
    place.set_ylabel("share of the best hypervolume")
    place.grid(alpha=0.25)


def draw_built(place, rows: list[dict]) -> None:
    """The front as it was measured, and the networks made by hand, each with its better plan."""
    found = [row for row in rows if "dominated_by" not in row]
    place.plot(*measured(found), "o", color="#1b6ca8", ms=4, label="found, fine-tuned")
    hand = [row for row in rows if "dominated_by" in row]
    place.plot(*measured(hand), "D", color="#c8553d", ms=4, label="made by hand")
    for name, at in zip((row["network"] for row in hand), zip(*measured(hand))):
        place.annotate(name, at, xytext=(4, -8), textcoords="offset points", fontsize=6)
    place.set_title("built and measured on the CPU")
    place.set_xlabel("ms, one image, one thread")
    place.set_ylabel("top-1, %")
    place.set_xscale("log")
    place.grid(alpha=0.25)
    place.legend(loc="lower right", frameon=False)


def measured(rows: list[dict]) -> tuple[list[float], list[float]]:
    """Milliseconds and top-1."""
    return [1e3 * row["latency_s"] for row in rows], [row["top1"] for row in rows]


if __name__ == "__main__":
    main()
