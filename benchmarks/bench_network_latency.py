"""Is a network's latency known before it is compiled?

Random pairs of a small network and a plan (`support/random_networks.py`; 32x32 images, up to 20 convolutions, dense or
at densities of 0.25 to 0.75, gates with random predictors). The predictor learns from the first --train pairs and is
asked about the 200 after them: their networks, fused, with the kernels, gates and changes of layout that the compiler
would choose, but nothing compiled. The bar: within 10 % of what is measured for 95 % of them. The time for an answer is
taken too: describing a network (the compiler's passes) and predicting one that is described.

Pairs are built, then timed, and both are kept in --folder, so the same command goes on where it was stopped. Building
may run beside other work (`--only build`); timing needs a machine that does nothing else.

    python benchmarks/bench_network_latency.py --folder pairs/ [--train 100] [--minutes 30] [--only build|time|evaluate]
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

ASKED, BAR_SHARE, BAR_ERROR = 200, 0.95, 0.10
TARGET = {"kind": "llvm", "num-cores": 1}
REPEATS, STEPS = 100, ("build", "time", "evaluate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--train", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--only", choices=STEPS)
    options = parser.parse_args()
    espalier.set_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    numbers, end = range(options.train + ASKED), time.monotonic() + 60 * options.minutes
    steps = [options.only] if options.only else STEPS
    if "build" in steps:
        until(end, [one for one in numbers if not work_path(options.folder, one).is_file()], built, options.folder)
    if "time" in steps:
        ready = [one for one in numbers if work_path(options.folder, one).is_file()]
        until(end, [one for one in ready if not time_path(options.folder, one).is_file()], timed, options.folder)
    if "evaluate" in steps:
        report(options.folder, options.train)


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
    sample = NetworkSample.measured(work, espalier.load(folder / str(number)), x, repeats=REPEATS)
    time_path(folder, number).write_text(json.dumps([sample.seconds, sample.kernel_seconds]))


def sample_of(folder: Path, number: int) -> NetworkSample | None:
    """A measured pair; None for one that is not timed yet."""
    if not time_path(folder, number).is_file():
        return None
    work = NetworkWork.of_dict(json.loads(work_path(folder, number).read_text()))
    seconds, kernels = json.loads(time_path(folder, number).read_text())
    return NetworkSample(work, seconds, tuple(kernels))


def report(folder: Path, train: int) -> None:
    """Learn from the first pairs, ask about the others."""
    first = [one for one in (sample_of(folder, number) for number in range(train)) if one]
    asked = [one for one in (sample_of(folder, train + number) for number in range(ASKED)) if one]
    predictor = LatencyPredictor()
    predictor.fit(first)
    started = time.perf_counter()
    answers = predictor.predict_all([one.work for one in asked])
    answer_s = (time.perf_counter() - started) / len(asked)
    ratios = np.array([one.seconds / sample.seconds for one, sample in zip(answers, asked)])
    described = [json.loads(work_path(folder, n).read_text())["described_s"] for n in range(train)]
    results = {
        "learned_from": len(first),
        "asked": len(asked),
        "within_10_percent": float(np.mean(np.abs(ratios - 1) <= BAR_ERROR)),
        "bar": BAR_SHARE,
        "spearman": float(spearmanr([one.seconds for one in answers], [one.seconds for one in asked]).statistic),
        "median_error": float(np.median(np.abs(ratios - 1))),
        "largest_error": float(np.max(np.abs(ratios - 1))),
        "within_two_deviations": float(np.mean(np.abs(np.log(ratios)) <= 2 * np.array([a.deviation for a in answers]))),
        "described_s": median(described),
        "answer_s": answer_s,
        "pairs": [[sample.seconds, one.seconds, one.deviation] for sample, one in zip(asked, answers)],
    }
    Console().print({name: value for name, value in results.items() if name != "pairs"})
    if len(asked) == ASKED and len(first) == train:
        write_record("network_latency", results)


if __name__ == "__main__":
    main()
