"""Does calibration choose better channels than chance and than a fixed choice, at equal density?

M-CifarNet and ResNet-20 (gates inside the blocks), trained without gates, calibrated on 512 training images.
Top-1 on CIFAR-10's test images when the channels that stay are

    calibrated           predicted from the input, by as strict a ridge as calibration finds best
    random               drawn for every image
    static-magnitude     those whose own filters have the largest L1 norm
    static-contribution  those with the largest mean contribution on the calibration images

each twice: with everything that calibration does besides choosing (channels in order of what the selection goes
by, weights fitted to the gates), and with gates alone. The bar: calibrated beats random and static-magnitude.
The static choice by contribution is the limit of a strict ridge: what calibrated has over it, the input itself
decided; the ridge that was found is in the record.
Random choices are evaluated by the interpreter, the others are compiled. Only a run on all images is recorded.

    python benchmarks/bench_calibration.py [--images 10000]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from support.cifar10 import load_test, load_train, normalise
from support.networks import cifar_resnet
from support.records import write_record

import espalier
from espalier.api import build, calibrate
from espalier.calibration.evaluate import evaluate
from espalier.calibration.selection import Random, StaticContribution, StaticMagnitude
from espalier.frontend.bundled import model_path

DENSITIES = (0.75, 0.5)
SELECTIONS = {
    "calibrated": None,
    "random": Random(),
    "static-magnitude": StaticMagnitude(),
    "static-contribution": StaticContribution(),
}
MUST_BE_BEATEN = ("random", "static-magnitude")
CALIBRATION_IMAGES, FROM_FIRST, SEED = 512, 10_000, 0
ALL_IMAGES = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=ALL_IMAGES, help="test images, the first of them")
    count = parser.parse_args().images
    images, labels = load_test()
    test = normalise(images[:count]), labels[:count]
    networks = {
        "M-CifarNet": espalier.from_onnx(model_path()),
        "ResNet-20": espalier.from_torch(cifar_resnet(20), torch.zeros(1, 3, 32, 32)),
    }
    dense = {name: top1(run(build(mod), test[0]), test[1]) for name, mod in networks.items()}
    settings = [
        (name, density, fitted, selection)
        for name in networks
        for density in DENSITIES
        for fitted in (True, False)
        for selection in SELECTIONS
    ]
    given, console = calibration_images(), Console()
    rows = [measure(networks[one[0]], *one, given, test) for one in track(settings, "calibrating", console=console)]
    console.print(table(rows, dense, count))
    console.print(verdict(rows))
    if count == ALL_IMAGES:
        write_record("calibration", {"dense_top1": dense, "calibration_images": CALIBRATION_IMAGES, "rows": rows})


def calibration_images() -> np.ndarray:
    """Training images, float32 [512, 3, 32, 32]."""
    images, _ = load_train(FROM_FIRST)
    picked = np.random.default_rng(SEED).permutation(FROM_FIRST)[:CALIBRATION_IMAGES]
    return normalise(images[picked])


def measure(mod, name: str, density: float, fitted: bool, selection: str, given: np.ndarray, test) -> dict:
    """Calibrate and classify the test images (images, labels)."""
    plan, start = espalier.Plan(density=density), time.perf_counter()
    calibration = calibrate(mod, given, plan, reconstruct=fitted, reorder=fitted, selection=SELECTIONS[selection])
    seconds = time.perf_counter() - start
    if selection == "random":
        logits = evaluate(mod, test[0], plan, calibration, np.random.default_rng(SEED))
    else:
        logits = run(build(mod, plan=plan, calibration=calibration), test[0])
    return {
        "network": name,
        "density": density,
        "weights": "fitted" if fitted else "own",
        "selection": selection,
        "top1": top1(logits, test[1]),
        "calibration_s": round(seconds, 2),
        "remarks": list(calibration.remarks),
    }


def run(artifact, images: np.ndarray) -> np.ndarray:
    """Logits [N, classes] of a network of batch 1."""
    return np.concatenate([artifact(image[None]) for image in images])


def top1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Percent of images whose largest output is their label."""
    return float(100 * np.mean(logits.argmax(axis=1) == labels))


def table(rows: list[dict], dense: dict[str, float], count: int) -> Table:
    result = Table(title=f"Top-1 on {count:,} CIFAR-10 test images, percent")
    for heading in ("network", "dense", "density", "weights", *SELECTIONS):
        shown = heading.replace("-", " ")  # a table of 80 columns breaks it there
        result.add_column(shown, justify="left" if heading in ("network", "weights") else "right")
    for key, by_selection in grouped(rows).items():
        name, density, weights = key
        cells = (f"{by_selection[selection]:.2f}" for selection in SELECTIONS)
        result.add_row(name, f"{dense[name]:.2f}", f"{density:g}", weights, *cells)
    return result


def verdict(rows: list[dict]) -> str:
    """Where calibrated selection is not better than what it must beat."""
    lost = [
        f"{name}, density {density:g}, weights {weights}: {found['calibrated']:.2f}, {other} {found[other]:.2f}"
        for (name, density, weights), found in grouped(rows).items()
        for other in MUST_BE_BEATEN
        if found["calibrated"] <= found[other]
    ]
    return (
        "\n".join(["The bar is missed:", *lost]) if lost else "Calibrated beats random and static-magnitude everywhere."
    )


def grouped(rows: list[dict]) -> dict[tuple, dict[str, float]]:
    """Top-1 by selection, for each (network, density, weights)."""
    result: dict[tuple, dict[str, float]] = {}
    for row in rows:
        result.setdefault((row["network"], row["density"], row["weights"]), {})[row["selection"]] = row["top1"]
    return result


if __name__ == "__main__":
    main()
