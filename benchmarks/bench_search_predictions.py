"""Is what a search believes of networks true once they are trained and built?

Accuracy: of the networks that `espalier sample-networks` has fine-tuned, spread over the space from the smallest to the
largest, some of them in few bits too. Believed: by a model that has learned from all the others. Measured: the compiled
program, on the half of the test set that no search sees. Latency: of thirty networks drawn from the space with their
number formats. Believed: by the predictor, which has learned from other networks. Measured: the compiled program.
The bars: a mean absolute difference of at most 0.7 points and a rank correlation of at least 0.9 for accuracy, a rank
correlation of 0.95 for latency.

--tuned is the folder of sample-networks, and --fine-tune and --teacher are what it was told: a network that is missing
there is trained. What is known is kept in --folder, so that the same command goes on where it was stopped.

    espalier sample-networks --data ../shared/data --fine-tune 3 -o samples/
    python benchmarks/bench_search_predictions.py --tuned samples/ --fine-tune 3
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.stats import spearmanr
from support import REPOSITORY, data_folder
from support import bars as told
from support.bars import Bar
from support.records import write_record
from support.search import Kept, kept_problem, networks_of

import espalier
from espalier.core.architecture import Architecture
from espalier.core.choice_space import Point
from espalier.measure.threads import set_threads
from espalier.tuning.latency_predictor import LEAST_NETWORKS
from espalier.tuning.nas.accuracy_model import PredictedAccuracy, left_out
from espalier.tuning.nas.built_front import module_of, trained_of
from espalier.tuning.nas.evaluators import MeasuredLatency
from espalier.tuning.nas.fine_tuning import FineTuning
from espalier.tuning.nas.joint_space import Candidate, JointSpace, stage_plan
from espalier.tuning.nas.problem import Value
from espalier.tuning.nas.sampling import TABLE
from espalier.tuning.nas.supernet_networks import SupernetNetworks, top1
from espalier.tuning.nas.tuned_networks import TunedNetwork, TunedNetworks

RECORD, NETWORKS, SEED, TARGET = "search_predictions", 30, 1, "llvm"
BARS = {"accuracy_points": 0.7, "accuracy_spearman": 0.9, "latency_spearman": 0.95}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tuned", type=Path, required=True)
    parser.add_argument("--fine-tune", type=int, required=True)
    parser.add_argument("--teacher")
    parser.add_argument("--supernet", type=Path, help="its weights, if they do not come with the package")
    parser.add_argument("--space", default="resnet-cifar")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "benchmarks" / "out" / "search" / "predictions")
    options = parser.parse_args()
    set_threads(1)
    space = JointSpace.of(options.space, TARGET)
    networks = networks_of(space, options.supernet)
    teacher = FineTuning.parse_teacher(options.teacher) if options.teacher else None
    tuned = FineTuning(options.fine_tune, data_folder(), networks.weights, options.tuned, teacher)
    table = TunedNetworks.read(options.tuned / TABLE)
    accuracies = accuracy_rows(table, networks, tuned, Kept.read(options.folder / "trained.json"))
    latencies = latency_rows(space, networks, options.folder)
    found = {
        **accuracy_judged(accuracies),
        "latency_spearman": rank(latencies),
        "latency_within_10_percent": float(
            np.mean([abs(np.log(one["believed_s"] / one["measured_s"])) <= np.log(1.1) for one in latencies])
        ),
    }
    Console().print(found, told.shown(bars({"accuracy": accuracies, **found})))
    facts = {"training": table.training, "judged_by": table.images, "measured_first": LEAST_NETWORKS, "bars": BARS}
    write_record(RECORD, {"accuracy": accuracies, "latency": latencies, **found, **facts})


def bars(results: dict | None) -> list[Bar]:
    """Of no results, not measured."""
    found = results or {}
    count = len({one["architecture"] for one in results["accuracy"]}) if results else None
    of = "predicted and measured"
    return [
        Bar.least("networks whose accuracy was predicted and measured", count, NETWORKS),
        Bar.most(f"accuracy {of}: points apart", found.get("accuracy_points"), BARS["accuracy_points"]),
        Bar.least(f"accuracy {of}: Spearman", found.get("accuracy_spearman"), BARS["accuracy_spearman"]),
        Bar.least(
            f"latency {of}, {NETWORKS} networks: Spearman", found.get("latency_spearman"), BARS["latency_spearman"]
        ),
    ]


def accuracy_rows(table: TunedNetworks, networks: SupernetNetworks, tuned: FineTuning, kept: Kept) -> list[dict]:
    """Of each fine-tuned network, predicted without it and built."""
    pairs = [*zip(table.networks, left_out(table.networks))]
    return [accuracy_row(one, told, networks, tuned, kept) for one, told in track(pairs, "building")]


def accuracy_row(
    one: TunedNetwork, told: PredictedAccuracy, networks: SupernetNetworks, tuned: FineTuning, kept: Kept
) -> dict:
    """All in percent of the images."""

    def built(point: Point) -> dict[str, Value]:
        architecture = Architecture.parse(one.architecture)
        candidate = Candidate(architecture, stage_plan(architecture, one.weights), {"kind": TARGET})
        trained = trained_of(candidate, networks, tuned, lambda words: None)
        mod, calibration = module_of(candidate, trained, networks)
        artifact = espalier.build(mod, candidate.target, candidate.plan, calibration)
        images, labels = networks.split.final
        how = f"compiled, {len(labels)} {networks.split.origin} that no search sees, {tuned.words}"
        return {"accuracy": Value(top1(artifact, images, labels), how)}

    asked = {"architecture": one.architecture, "weights": ",".join(one.weights), "training": tuned.words}
    measured = kept.value(asked, built)["accuracy"]
    return {
        "architecture": one.architecture,
        "weights": list(one.weights),
        "supernet": 100 * one.supernet_accuracy,
        "believed": 100 * told.accuracy,
        "deviation": 100 * told.deviation,
        "search_images": 100 * one.accuracy,
        "measured": 100 * measured.number,
        "how": measured.how,
    }


def accuracy_judged(rows: list[dict]) -> dict:
    """Differences in points and rank correlations; also how far one half of the images is from the other."""
    believed, half, measured, supernet = (
        np.array([row[name] for row in rows]) for name in ("believed", "search_images", "measured", "supernet")
    )
    return {
        "accuracy_points": float(np.abs(believed - measured).mean()),
        "accuracy_spearman": float(spearmanr(believed, measured)[0]),
        "halves_points": float(np.abs(half - measured).mean()),
        "halves_mean": float((half - measured).mean()),
        "supernet_points": float(np.abs(supernet - measured).mean()),
        "supernet_spearman": float(spearmanr(supernet, measured)[0]),
    }


def latency_rows(space: JointSpace, networks: SupernetNetworks, folder: Path) -> list[dict]:
    """Of drawn networks, predicted and measured."""
    problem, _ = kept_problem(space, networks, "latency", folder)
    random, built = np.random.default_rng(SEED), Kept.read(folder / "built.json")
    for _ in range(LEAST_NETWORKS):  # the predictor learns from these
        problem.evaluate(space.choices.sample(random))
    points, slow = [space.choices.sample(random) for _ in range(NETWORKS)], MeasuredLatency(networks, blocks=12)
    rows = []
    for point in track(points, "measuring"):
        believed = problem.evaluate(point)["latency"]
        measured = built.value(point, lambda one: slow.evaluate(space.candidate(one)))["latency"]
        how = {"believed_how": believed.how, "measured_how": measured.how}
        rows.append({"point": point, "believed_s": believed.number, "measured_s": measured.number, **how})
    return rows


def rank(rows: list[dict]) -> float:
    """Correlation of the ranks of what was believed and measured."""
    return float(spearmanr([one["believed_s"] for one in rows], [one["measured_s"] for one in rows])[0])


if __name__ == "__main__":
    main()
