"""Do gates win against plain networks that are as fast because they are narrower?

Every finished float32 training under benchmarks/checkpoints, gated or narrower, and dense M-CifarNet and ResNet-20:
top-1 on all 10,000 test images and the latency at batch 1 on one thread, both of the same compiled program. Latencies
are medians of turns in one process. Also counts the images on which torch and the compiled program disagree.
Writes control.json and docs/accuracy_over_latency.svg; only a run on all images is recorded.

    python benchmarks/bench_control.py [--checkpoints FOLDER] [--rounds 20] [--images 10000]
    python benchmarks/bench_control.py --latency        # only times again what the record has
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tvm
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table
from support import REPOSITORY
from support.checkpoints import FOLDER, Finished, all_finished
from support.cifar10 import load_test, normalise
from support.networks import cifar_resnet
from support.records import merged_rows, write_record

import espalier
from espalier.frontend.bundled import model_path
from espalier.measure.compare import disturbed, interleave, summarise
from espalier.measure.threads import set_threads

OUTPUT = REPOSITORY / "docs" / "accuracy_over_latency.svg"
RECORD, ALL_IMAGES, TORCH_BATCH = "control", 10_000, 500
TITLES = {"mcifarnet": "M-CifarNet", "resnet20": "ResNet-20", "resnet8": "ResNet-8"}
GATED = {"color": "#0072B2", "marker": "o", "linestyle": "none", "label": "with trained gates"}
DENSE = {"color": "#D55E00", "marker": "s", "label": "plain"}
STYLE = {"svg.hashsalt": "espalier", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=Path, default=FOLDER, help="folder of finished weights")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--images", type=int, default=ALL_IMAGES, help="test images, the first of them")
    parser.add_argument("--latency", action="store_true", help="classify nothing: accuracies are the record's")
    options = parser.parse_args()
    try:
        trained = [one for one in all_finished(options.checkpoints) if not one.recipe.is_quantized]
    except espalier.EspalierError as error:
        raise SystemExit(f"error: {error}") from None
    set_threads(1)
    published = espalier.from_torch(cifar_resnet(20), torch.zeros(1, 3, 32, 32))
    programs = compiled({"M-CifarNet": espalier.from_onnx(model_path()), "ResNet-20": published}, trained)
    times = timed(programs, options.rounds)
    if options.latency:
        rows = [row | times[row["checkpoint"]] for row in merged_rows(RECORD, [], ("checkpoint",))]
        publish(rows)
        return
    images, labels = (part[: options.images] for part in load_test())
    rows = [row | times[row["checkpoint"]] for row in classified(trained, programs, normalise(images), labels)]
    if options.images == ALL_IMAGES:
        publish(rows)
    else:
        Console().print(table(rows))


def publish(rows: list[dict]) -> None:
    """Show the rows, record and draw them."""
    rows = sorted(rows, key=lambda row: (row["network"], row["latency_s"]))
    Console().print(table(rows))
    write_record(RECORD, rows)
    save(rows, OUTPUT)


def compiled(dense: dict[str, tvm.IRModule], trained: list[Finished]) -> dict[str, espalier.Artifact]:
    """Every network by its name."""
    example = torch.zeros(1, 3, 32, 32)
    modules = dense | {one.name: espalier.from_torch(one.model, example) for one in trained}
    return {name: espalier.build(mod) for name, mod in modules.items()}


def timed(programs: dict[str, espalier.Artifact], rounds: int) -> dict[str, dict]:
    """Latencies of one image, by turns."""
    image = tvm.runtime.tensor(np.zeros((1, 3, 32, 32), "float32"))
    runs = {name: partial(one.program.machine["main"], image) for name, one in programs.items()}
    times = summarise(interleave(runs, rounds))
    noisy = disturbed(times)
    return {
        name: {
            "latency_s": one.median_s,
            "quartiles_s": [one.quartile1_s, one.quartile3_s],
            "disturbed": name in noisy,
        }
        for name, one in times.items()
    }


def classified(trained: list[Finished], programs: dict, x: np.ndarray, labels: np.ndarray) -> list[dict]:
    """A row for each network, without its latency."""
    facts = {one.name: described(one) for one in trained}
    for name, network in (("M-CifarNet", "mcifarnet"), ("ResNet-20", "resnet20")):
        facts[name] = {"network": network, "label": "width 100 %", "gated": False}
    by_torch, rows = {one.name: torch_choices(one.model, x) for one in trained}, []
    for name, artifact in track(programs.items(), "classifying", console=Console(stderr=True)):
        chosen = np.array([artifact(image[None]).argmax() for image in x])
        rows.append(
            {
                "checkpoint": name,
                **facts[name],
                "top1": top1(chosen, labels),
                "top1_torch": top1(by_torch[name], labels) if name in by_torch else None,
                "other_choices_than_torch": int((chosen != by_torch[name]).sum()) if name in by_torch else None,
                "macs": sum(layer.macs for layer in artifact.layers),
                "macs_dense": sum(layer.macs_dense for layer in artifact.layers),
            }
        )
    return rows


def described(one: Finished) -> dict:
    """What a row says of a training."""
    return {
        "network": one.network,
        "label": one.label,
        "gated": one.recipe.is_gated,
        "epochs": one.epochs,
        "recipe": one.recipe.to_dict(),
    }


@torch.no_grad()
def torch_choices(model: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    """The class with the largest logit of each image."""
    batches = torch.from_numpy(x).split(TORCH_BATCH)
    return np.concatenate([model(batch).argmax(1).numpy() for batch in batches])


def top1(chosen: np.ndarray, labels: np.ndarray) -> float:
    """Percent."""
    return round(float(100 * np.mean(chosen == labels)), 2)


def table(rows: list[dict]) -> Table:
    result = Table(title="The same compiled program on the test images and on the clock; batch 1, one thread")
    for heading in ("network", "training", "top-1, %", "torch, %", "other choices", "ms", "MMACs"):
        result.add_column(heading, justify="left" if heading in ("network", "training") else "right")
    for row in rows:
        shown = (
            "" if row[key] is None else str(row[key]) for key in ("top1", "top1_torch", "other_choices_than_torch")
        )
        times = f"{1e3 * row['latency_s']:.3f}{' (disturbed)' if row['disturbed'] else ''}", f"{1e-6 * row['macs']:.1f}"
        result.add_row(TITLES.get(row["network"], row["network"]), row["label"], *shown, *times)
    return result


def save(rows: list[dict], path: Path) -> None:
    """Draw a panel for each network; the same rows give the same bytes."""
    networks = sorted({row["network"] for row in rows})
    with rc_context(STYLE):
        figure = Figure(figsize=(max(6.0, 4.6 * len(networks)), 4.2), layout="constrained")
        for axes, network in zip(figure.subplots(1, len(networks), squeeze=False)[0], networks):
            draw(axes, [row for row in rows if row["network"] == network])
            axes.set(title=TITLES.get(network, network), xlabel="latency, ms", ylabel="top-1, %")
        figure.suptitle("CIFAR-10's 10,000 test images; batch 1, float32, one thread")
        path.parent.mkdir(exist_ok=True, parents=True)
        figure.savefig(path, metadata={"Date": None, "Creator": None} if path.suffix == ".svg" else None)


def draw(axes: Axes, rows: list[dict]) -> None:
    """Points of the gated networks, and of the plain ones joined in the order of their latency."""
    for gated, style in ((True, GATED), (False, DENSE)):
        found = sorted((row["latency_s"] * 1e3, row["top1"], row["label"]) for row in rows if row["gated"] == gated)
        if not found:
            continue
        axes.plot(*zip(*(point[:2] for point in found)), linewidth=0.8, markersize=5, **style)
        offset, ha, va = ((-5, 4), "right", "bottom") if gated else ((5, -4), "left", "top")
        for x, y, label in found:
            place = {"xytext": offset, "textcoords": "offset points", "ha": ha, "va": va}
            axes.annotate(label, (x, y), color=style["color"], fontsize=8, **place)
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(0.35, 0.15)
    axes.legend(loc="lower right", frameon=False)


if __name__ == "__main__":
    main()
