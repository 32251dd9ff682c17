"""What searches found: docs/search.svg from search.json (samplers), search_front.json and search_board.json (networks
that were built, on a CPU and for a board).

python benchmarks/plot_search.py
"""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from support import REPOSITORY
from support.records import FOLDER

OUTPUT = REPOSITORY / "docs" / "search.svg"
STYLE = {"svg.hashsalt": "espalier", "font.size": 8}
TARGETS = {"llvm": "CPU: accuracy and latency", "fpga_hls/pynq-z2": "XC7Z020: accuracy and cycles"}
FOUND, BY_HAND = "#1b6ca8", "#c8553d"
TICKS_MS = (0.05, 0.1, 0.2, 0.5, 1, 2)
WAYS = {
    "nsga2": ("NSGA-II", "#1b6ca8", "o-"),
    "qlognehvi": ("qLogNEHVI", "#2f855a", "s-"),
    "staged": ("one thing after the other", "#c8553d", "^-"),
    "random": ("random", "#6b7280", "x:"),
}


def main() -> None:
    save(results("search"), results("search_front")["rows"], results("search_board"), OUTPUT)


def results(record: str):
    """What a record holds."""
    return json.loads((FOLDER / f"{record}.json").read_text())["results"]


def save(samplers: list[dict], on_cpu: list[dict], on_board: dict, output: Path) -> None:
    """Draw it: a panel for each target whose samplers were compared, one for each front that was built."""
    rows = {target: [row for row in samplers if row["target"] == target and "shares" in row] for target in TARGETS}
    compared = [target for target, ways in rows.items() if ways]
    with rc_context(STYLE):
        figure = Figure(figsize=(3 * (len(compared) + 2), 3.4), layout="constrained")
        *places, cpu, board = figure.subplots(1, len(compared) + 2)
        for place, target in zip(places, compared):
            draw_samplers(place, rows[target], TARGETS[target])
        draw_cpu(cpu, on_cpu)
        draw_board(board, on_board)
        figure.legend(*places[0].get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False)
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


def draw_cpu(place, rows: list[dict]) -> None:
    """The front as it was measured, and the networks made by hand, each in its formats."""
    points = {row["network"]: (1e3 * row["latency_s"], row["top1"]) for row in rows}
    hand = {row["network"]: points[row["network"]] for row in rows if "dominated_by" in row}
    draw_built(place, [at for name, at in points.items() if name not in hand], hand)
    place.set_title("built and measured on the CPU")
    place.set_xlabel("ms, one image, one thread")
    place.set_xscale("log")
    place.xaxis.set_major_locator(FixedLocator(TICKS_MS))
    place.xaxis.set_major_formatter("{x:g}")
    place.xaxis.set_minor_locator(NullLocator())


def draw_board(place, results: dict) -> None:
    """The front within the part, and the accelerator made by hand."""
    found = [(row["cycles"], row["top1"]) for row in results["rows"] if row["fits"]]
    draw_built(place, found, {"ResNet-8": (results["hand"]["cycles"], results["hand"]["top1"])})
    place.set_title("built for an XC7Z020")
    place.set_xlabel("cycles between images")
    place.xaxis.set_major_formatter("{x:,.0f}")
    place.xaxis.set_major_locator(MaxNLocator(4))


def draw_built(place, found: list[tuple[float, float]], hand: dict[str, tuple[float, float]]) -> None:
    """Points (cost, top-1); those made by hand by name and format, each network's joined by a line."""
    place.plot(*zip(*found), "o", color=FOUND, ms=4, label="found, fine-tuned")
    networks: dict[str, list] = {}
    for name, at in sorted(hand.items(), key=lambda one: one[1]):
        networks.setdefault(name.partition(" ")[0], []).append(at)
    for number, (name, formats) in enumerate(networks.items()):
        place.plot(*zip(*formats), "D-", color=BY_HAND, ms=4, lw=0.8, label="made by hand" if number == 0 else None)
        place.annotate(name, formats[-1], xytext=(0, -10), textcoords="offset points", fontsize=6, ha="center")
    place.set_ylabel("top-1, %")
    place.margins(x=0.12, y=0.12)
    place.grid(alpha=0.25)
    place.legend(loc="lower right", frameon=False)


if __name__ == "__main__":
    main()
