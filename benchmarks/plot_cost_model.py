"""What the cost models reach on other people's measurements: docs/cost_models.svg from cost_model_tables.json.

python benchmarks/plot_cost_model.py
"""

from __future__ import annotations

import json

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from support import REPOSITORY
from support.records import FOLDER

OUTPUT = REPOSITORY / "docs" / "cost_models.svg"
STYLE = {"svg.hashsalt": "espalier", "font.size": 8}
TABLES = {
    "NAS-Bench-201, fpga": "NAS-Bench-201, FPGA",
    "NAS-Bench-201, eyeriss": "NAS-Bench-201, Eyeriss",
    "NAS-Bench-201, gold_6226": "NAS-Bench-201, Xeon 6226",
    "NAS-Bench-201, raspi4": "NAS-Bench-201, Raspberry Pi 4",
    "zcu102": "Accel-NASBench, ZCU102",
    "vck190": "Accel-NASBench, VCK190",
}
MODELS = {
    "gp": ("Gaussian process", "#1b6ca8", "o-"),
    "gp on a rule's residual": ("the same on a rule's residual", "#1b6ca8", "o--"),
    "xgboost": ("XGBoost, regression", "#c8553d", "s-"),
    "xgboost, ranking": ("XGBoost, ranking", "#c8553d", "s--"),
    "analytic": ("the rule alone", "#6b7280", "^:"),
    "random": ("random (0, below the frames)", "#b0b5bd", "x:"),
}


def main() -> None:
    results = json.loads((FOLDER / "cost_model_tables.json").read_text())["results"]
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 6.6), layout="constrained")
        axes = figure.subplots(3, 3)
        for place, (name, title) in zip(axes[:2].flat, TABLES.items()):
            draw_table(place, [row for row in results["models"] if row["table"] == name], title)
        axes[0, 0].set_ylabel("rank correlation")
        axes[1, 0].set_ylabel("rank correlation")
        for place in axes[1]:
            place.set_xlabel("measurements")
        draw_transfer(figure, axes[2], results)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
        figure.savefig(OUTPUT, metadata={"Date": None})


def draw_table(place, rows: list[dict], title: str) -> None:
    """A line for each model; the random control lies near 0, below the frame."""
    for model, (label, colour, style) in MODELS.items():
        mine = [row for row in rows if row["model"] == model]
        steps, reached = zip(*((row["measurements"], row["spearman"]) for row in mine))
        place.plot(steps, reached, style, color=colour, label=label, ms=4)
    place.set_title(title, fontsize=8)
    place.set_xscale("log")
    place.set_xticks([30, 100, 300], ["30", "100", "300"])
    place.minorticks_off()
    place.set_ylim(0.5, 1.01)
    place.grid(alpha=0.25)


def draw_transfer(figure: Figure, axes, results: dict) -> None:
    """Bars for each new device, with and without what others' models say."""
    grid = axes[0].get_gridspec()
    for place in axes:
        place.remove()
    place = figure.add_subplot(grid[2, :])
    rows, height = results["transfer"], 0.38
    positions = np.arange(len(rows))
    place.bar(positions - height / 2, [r["spearman"] for r in rows], height, color="#1b6ca8", label="by transfer")
    place.bar(positions + height / 2, [r["alone"] for r in rows], height, color="#b0b5bd", label="these 10 alone")
    place.axhline(results["transfer_bar"], color="#c8553d", lw=1, ls="--", label="the bar for the mean (HELP), .932")
    place.set_xticks(positions, [row["device"].replace("_", " ") for row in rows])
    place.set_ylim(0, 1.25)
    place.set_ylabel("rank correlation")
    place.set_title(f"a new device from 10 measurements (mean by transfer {results['transfer_mean']:.3f})", fontsize=8)
    place.legend(loc="upper right", ncols=3, frameon=False)


if __name__ == "__main__":
    main()
