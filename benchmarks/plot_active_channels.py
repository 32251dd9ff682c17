"""Do different inputs use different channels?

For each gate of a trained network: how often each group of channels is active for the images of each class, as a heat
map, over CIFAR-10's 10,000 test images. Two figures a layer, in bits, means over its groups:

    entropy      of whether a group is active, H(p), p its share of all images: 0 if the choice never changes; at most
                 H(density), which a choice by chance among all groups has
    information  that the class gives about it, H(p) - mean over the classes of H(p in that class)

Where the information is far below the entropy the choice follows something finer than the class.
Writes active_channels_<recipe>.json and docs/active_channels_<recipe>.svg; only a run on all images is recorded.

    python benchmarks/plot_active_channels.py [--weights benchmarks/checkpoints/RECIPE.pt] [--images 10000]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from support import REPOSITORY
from support.checkpoints import FOLDER, all_finished, finished
from support.choices import binary_entropy, choices
from support.cifar10 import load_test, normalise
from support.records import write_record

import espalier
from espalier.frontend.bundled import CLASSES

OUTPUT = REPOSITORY / "docs"
ALL_IMAGES, COLUMNS = 10_000, 4
STYLE = {"svg.hashsalt": "espalier", "font.size": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="finished weights (default: all gated ones in the folder)")
    parser.add_argument("--images", type=int, default=ALL_IMAGES, help="test images, the first of them")
    options = parser.parse_args()
    try:
        trained = [finished(options.weights)] if options.weights else all_finished(FOLDER)
        trained = [one for one in trained if one.recipe.is_gated]
        if not trained:
            raise espalier.InvalidInputError("checkpoints: none of a network with gates")
    except espalier.EspalierError as error:
        raise SystemExit(f"error: {error}") from None
    images, labels = (part[: options.images] for part in load_test())
    for one in trained:
        layers = [layer_use(name, active, labels) for name, active in choices(one.model, normalise(images)).items()]
        Console().print(table(one.name, layers))
        if options.images == ALL_IMAGES:
            write_record(f"active_channels_{one.name}", {"recipe": one.recipe.to_dict(), "layers": layers})
            save(f"{one.name}, {one.label}", layers, OUTPUT / f"active_channels_{one.name}.svg")


def layer_use(name: str, active: np.ndarray, labels: np.ndarray) -> dict:
    """What one gate chose. use: share of the images of a class in which a group is active, [classes][groups]."""
    classes = np.unique(labels)
    use = np.array([active[labels == one].mean(0) for one in classes])
    shares = np.array([np.mean(labels == one) for one in classes])
    entropies = binary_entropy(active.mean(0))
    return {
        "layer": name,
        "groups": active.shape[1],
        "kept": int(active[0].sum()),
        "entropy_bits": float(entropies.mean()),
        "highest_entropy_bits": float(binary_entropy(active.mean())),
        "class_information_bits": float((entropies - shares @ binary_entropy(use)).mean()),
        "different_choices": len(np.unique(active, axis=0)),
        "use": np.round(use, 4).tolist(),
    }


def table(name: str, layers: list[dict]) -> Table:
    result = Table(title=f"{name}: does the choice follow the input?")
    columns = ("groups", "kept", "entropy_bits", "highest_entropy_bits", "class_information_bits", "different_choices")
    for heading in ("layer", "groups", "kept", "entropy, bits", "at most", "class tells, bits", "different choices"):
        result.add_column(heading, justify="left" if heading == "layer" else "right")
    for layer in layers:
        cells = (f"{layer[key]:.3f}" if key.endswith("bits") else f"{layer[key]:,}" for key in columns)
        result.add_row(layer["layer"], *cells)
    return result


def save(title: str, layers: list[dict], path: Path) -> None:
    """Draw a heat map for each gate; the same layers give the same bytes."""
    columns = min(COLUMNS, len(layers))
    rows = math.ceil(len(layers) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 2.4 * columns, 0.9 + 2.2 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
        for layer, axes in zip(layers, panels):  # in this order none is lost at the end
            picture = axes.imshow(layer["use"], vmin=0, vmax=1, cmap="viridis", aspect="auto", interpolation="nearest")
            bits = layer["entropy_bits"], layer["class_information_bits"]
            axes.set_title(f"{layer['layer']}\nentropy {bits[0]:.2f} bit, class tells {bits[1]:.2f}", fontsize=8)
            axes.set_xticks(range(0, layer["groups"], max(1, layer["groups"] // 6)))
        for axes in panels:
            axes.set_visible(False)
        for first in figure.axes[: rows * columns : columns]:
            first.set_yticks(range(len(CLASSES)), labels=CLASSES)
        figure.supxlabel("group of channels")
        figure.colorbar(picture, ax=figure.axes, label="share of the class's images in which the group is active")
        figure.suptitle(f"Active channels by class: {title}")
        path.parent.mkdir(exist_ok=True, parents=True)
        figure.savefig(path, metadata={"Date": None, "Creator": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
