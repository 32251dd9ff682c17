"""Is a network's latency known before it is compiled?

Random pairs of a small network and a plan (`support/random_networks.py`; 32x32 images, up to 20 convolutions, dense or
at densities of 0.25 to 0.75, gates with random predictors). Each fifth of them is asked of a predictor that learned
from the others: networks, fused, with the kernels, gates and changes of layout that the compiler would choose, but
nothing compiled. The bar: within 10 % of what is measured for 95 % of 200 pairs. The time for an answer is taken too:
describing a network (the compiler's passes) and predicting one that is described. As a bound, the same sums are made
of the kernels' measured times: what is missed then is not the per-layer model's fault.

Pairs are built, then timed, and both are kept in --folder, so the same command goes on where it was stopped; the record
says how many of the 200 it rests on. Building may run beside other work (`--only build`); timing needs a machine that
does nothing else.

    python benchmarks/bench_network_latency.py --folder pairs/ [--minutes 30] [--only build|time|evaluate]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.stats import spearmanr
from support.gates import random_gates
from support.random_networks import SIZE, random_pair
from support.records import write_record

import espalier
from espalier.tuning.latency_predictor import LatencyPredictor, NetworkSample
from espalier.tuning.network_work import NetworkWork, network_work

PAIRS, FOLDS, BAR_SHARE, BAR_ERROR = 200, 5, 0.95, 0.10
TARGET = {"kind": "llvm", "num-cores": 1}
BLOCKS, STEPS = 12, ("build", "time", "evaluate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--only", choices=STEPS)
    options = parser.parse_args()
    espalier.set_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    numbers, end = range(PAIRS), time.monotonic() + 60 * options.minutes
    steps = [options.only] if options.only else STEPS
    if "build" in steps:
        until(end, [one for one in numbers if not work_path(options.folder, one).is_file()], built, options.folder)
    if "time" in steps:
        ready = [one for one in numbers if work_path(options.folder, one).is_file()]
        until(end, [one for one in ready if not time_path(options.folder, one).is_file()], timed, options.folder)
    if "evaluate" in steps:
        report(options.folder)


def until(end: float, numbers: Sequence[int], work: Callable[[Path, int], None], folder: Path) -> None:
    """Do what is left, as long as there is time."""
    for number in track(numbers, work.__name__):
        if time.monotonic() > end:
            print("the time is over: run the same command again")
            return
        work(folder, number)


def work_path(folder: Path, number: int) -> Path:
    """Of the description of a pair that is built."""
    return folder / f"{number}.work.json"


def time_path(folder: Path, number: int) -> Path:
    """Of the seconds of a pair."""
    return folder / f"{number}.time.json"


def built(folder: Path, number: int) -> None:
    """Compile a pair and describe it."""
    network, plan = random_pair(number)
    mod = espalier.from_torch(network, np.zeros((1, 3, SIZE, SIZE), "float32"))
    gates = random_gates(mod, plan) if plan.density < 1 else None
    espalier.build(mod, TARGET, plan, gates).save(folder / str(number))
    started = time.perf_counter()
    work = network_work(mod, TARGET, plan)
    described_s = time.perf_counter() - started
    work_path(folder, number).write_text(json.dumps({"described_s": described_s, **work.to_dict()}))


def timed(folder: Path, number: int) -> None:
    """Time a pair, and each of its kernels."""
    work = NetworkWork.of_dict(json.loads(work_path(folder, number).read_text()))
    x = np.random.default_rng(number).standard_normal((1, 3, SIZE, SIZE), "float32")
    sample = NetworkSample.measured(work, espalier.load(folder / str(number)), x, blocks=BLOCKS)
    time_path(folder, number).write_text(json.dumps([sample.seconds, sample.kernel_seconds]))


def sample_of(folder: Path, number: int) -> NetworkSample:
    """A measured pair."""
    work = NetworkWork.of_dict(json.loads(work_path(folder, number).read_text()))
    seconds, kernels = json.loads(time_path(folder, number).read_text())
    return NetworkSample(work, seconds, tuple(kernels))


def report(folder: Path) -> None:
    """Ask about each fifth of the pairs what was learned from the others."""
    numbers = [number for number in range(PAIRS) if time_path(folder, number).is_file()]
    samples = [sample_of(folder, number) for number in numbers]
    answers, bounds, answer_s = [None] * len(samples), np.zeros(len(samples)), 0.0
    for fold in track(range(FOLDS), "asking"):
        asked = range(fold, len(samples), FOLDS)
        predictor = LatencyPredictor()
        predictor.fit([one for place, one in enumerate(samples) if place % FOLDS != fold])
        started = time.perf_counter()
        found = predictor.predict_all([samples[place].work for place in asked])
        answer_s += time.perf_counter() - started
        for place, answer in zip(asked, found):
            answers[place], bounds[place] = answer, predictor.sum_of(samples[place])
    measured = np.array([one.seconds for one in samples])
    predicted, deviations = np.array([[one.seconds, one.deviation] for one in answers]).T
    results = {
        "pairs": len(samples),
        "pairs_wanted": PAIRS,
        "bar": BAR_SHARE,
        **quality(predicted, measured),
        "with_measured_kernels": quality(bounds, measured),
        "within_two_deviations": float(np.mean(np.abs(np.log(predicted / measured)) <= 2 * deviations)),
        "described_s": median(json.loads(work_path(folder, number).read_text())["described_s"] for number in numbers),
        "answer_s": answer_s / len(samples),
        "measured_predicted_deviation": np.stack([measured, predicted, deviations], axis=1).tolist(),
    }
    Console().print({name: value for name, value in results.items() if name != "measured_predicted_deviation"})
    write_record("network_latency", results)


def quality(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """How near the predictions come."""
    errors = np.abs(predicted / measured - 1)
    return {
        "within_10_percent": float(np.mean(errors <= BAR_ERROR)),
        "spearman": float(spearmanr(predicted, measured).statistic),
        "median_error": float(np.median(errors)),
        "largest_error": float(np.max(errors)),
    }


if __name__ == "__main__":
    main()
