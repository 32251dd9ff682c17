"""Is what a search believes of networks true once they are built?

Thirty networks drawn from a space with their number formats. Believed: accuracy by the supernet's weights on the images
that a search looks at, latency by the predictor that has learned from other networks. Measured: the compiled program on
images that no search sees, without any fine-tuning, and its time. The bars: a mean absolute difference of at most 0.7
points and a rank correlation of at least 0.9 for accuracy, a rank correlation of 0.95 for latency.

What is known is kept in --folder, so that the same command goes on where it was stopped.

    python benchmarks/bench_search_predictions.py --supernet supernet-resnet-cifar/weights.pt
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.stats import spearmanr
from support import REPOSITORY
from support.records import write_record
from support.search import Kept, kept_problem, networks_of

import espalier
from espalier.core.choice_space import Point
from espalier.measure.threads import set_threads
from espalier.tuning.latency_predictor import LEAST_NETWORKS
from espalier.tuning.nas.evaluators import MeasuredLatency
from espalier.tuning.nas.joint_space import JointSpace
from espalier.tuning.nas.problem import Value
from espalier.tuning.nas.supernet_networks import SupernetNetworks, top1

RECORD, NETWORKS, SEED = "search_predictions", 30, 1
BARS = {"accuracy_points": 0.7, "accuracy_spearman": 0.9, "latency_spearman": 0.95}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--supernet", type=Path, help="its weights, if they do not come with the package")
    parser.add_argument("--space", default="resnet-cifar")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "benchmarks" / "out" / "search" / "predictions")
    options = parser.parse_args()
    set_threads(1)
    space, random = JointSpace.of(options.space, "llvm"), np.random.default_rng(SEED)
    networks = networks_of(space, options.supernet)
    problem, _ = kept_problem(space, networks, "accuracy,latency", options.folder)
    for _ in range(LEAST_NETWORKS):  # the predictor learns from these
        problem.evaluate(space.choices.sample(random))
    built = Kept.read(options.folder / "built.json")
    points, measure = [space.choices.sample(random) for _ in range(NETWORKS)], partial(measured, space, networks)
    rows = [
        {"point": point, "believed": plain(problem.evaluate(point)), "measured": plain(built.value(point, measure))}
        for point in track(points, "believing and measuring")
    ]
    found = judged(rows)
    Console().print(found)
    write_record(RECORD, {"rows": rows, **found, "bars": BARS, "measured_first": LEAST_NETWORKS})


def measured(space: JointSpace, networks: SupernetNetworks, point: Point) -> dict[str, Value]:
    """Of the compiled program."""
    candidate = space.candidate(point)
    mod, calibration = networks.calibrated(candidate.architecture, candidate.plan)
    artifact = espalier.build(mod, candidate.target, candidate.plan, calibration)
    images, labels = networks.split.final
    how = f"compiled, {len(labels)} {networks.split.origin} that no search sees, no fine-tuning"
    latency = MeasuredLatency(networks, blocks=12).evaluate(candidate)
    return {"accuracy": Value(top1(artifact, images, labels), how), **latency}


def plain(values: dict[str, Value]) -> dict:
    """As JSON has it."""
    return {name: {"number": one.number, "how": one.how} for name, one in values.items()}


def judged(rows: list[dict]) -> dict:
    """Differences and rank correlations."""
    believed, true = (
        {name: np.array([row[kind][name]["number"] for row in rows]) for name in ("accuracy", "latency")}
        for kind in ("believed", "measured")
    )
    ratio = np.abs(np.log(believed["latency"] / true["latency"]))
    return {
        "accuracy_points": float(100 * np.abs(believed["accuracy"] - true["accuracy"]).mean()),
        "accuracy_spearman": float(spearmanr(believed["accuracy"], true["accuracy"])[0]),
        "latency_spearman": float(spearmanr(believed["latency"], true["latency"])[0]),
        "latency_within_10_percent": float((ratio <= np.log(1.1)).mean()),
    }


if __name__ == "__main__":
    main()
