"""Is a network's latency known before it is compiled?

Random pairs of a small network and a plan (`support/random_networks.py`; 32x32 images, up to 20 convolutions, dense or
at densities of 0.25 to 0.75, gates with random predictors). Each fifth of them is asked of a predictor that learned
from the others: networks, fused, with the kernels, gates and changes of layout that the compiler would choose, but
nothing compiled. The bar: within 10 % of what is measured for 95 % of 200 pairs. The time for an answer is taken too:
describing a network (the compiler's passes) and predicting one that is described.

Three answers are judged. "without_table" knows kernels from the other four fifths of the networks alone. "with_table"
was also given the table of single kernels (`measure_kernels`): those of all pairs, the asked ones too, each measured
once by itself; no latency of an asked network is in it. Its cost and how well kernels outside of a table are predicted
are in "table". As a bound, "with_measured_kernels" sums the times that the kernels of the asked network itself took.

Pairs are built, then timed, and both are kept in --folder, so the same command goes on where it was stopped; the record
says how many of the 200 it rests on. Building may run beside other work (`--only build`); timing needs a machine that
does nothing else. Before and after a pair a loop of products in registers is timed: where it takes longer than 1.1
times its best, the pair is timed again, up to three times, and counted as disturbed if that does not help.

    python benchmarks/bench_network_latency.py --folder pairs/ [--minutes 30] [--only build|kernels|time|evaluate]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
import tvm
from rich.console import Console
from rich.progress import Progress, track
from scipy.stats import spearmanr
from support.gates import random_gates
from support.random_networks import SIZE, random_pair
from support.records import write_record

import espalier
from espalier.codegen.cpu.kernels.peak import peak_kernel, peak_shapes
from espalier.core.records import RecordFile
from espalier.measure.single_kernels import RULE
from espalier.targets.cpu import isa_of
from espalier.targets.resolve import resolve_target
from espalier.tuning.cost_model.features import KERNELS_IN_NETWORKS
from espalier.tuning.cost_model.gaussian_process import ResidualProcess
from espalier.tuning.cost_model.interface import Sample
from espalier.tuning.latency_predictor import LatencyPredictor, NetworkSample
from espalier.tuning.measure_kernels import measure_kernels, table_of
from espalier.tuning.network_work import NetworkWork, network_work

PAIRS, FOLDS, BAR_SHARE, BAR_ERROR = 200, 5, 0.95, 0.10
TARGET = {"kind": "llvm", "num-cores": 1}
BLOCKS, STEPS = 12, ("build", "kernels", "time", "evaluate")
TRIES, REFERENCE_RUNS = 3, 5


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
    ready = [one for one in numbers if work_path(options.folder, one).is_file()]
    if "kernels" in steps:
        measured_table(options.folder, ready, max(1.0, end - time.monotonic()))
    if "time" in steps:
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


def work_of(folder: Path, number: int) -> NetworkWork:
    """Of a pair that is built."""
    return NetworkWork.of_dict(json.loads(work_path(folder, number).read_text()))


def measured_table(folder: Path, numbers: Sequence[int], seconds: float) -> None:
    """Measure the kernels of these pairs by themselves, and keep how long that took."""
    started, cost = time.monotonic(), folder / "kernels.json"
    works = [work_of(folder, number) for number in numbers]
    with Progress() as progress:
        bar = progress.add_task("single kernels")
        measure_kernels(
            works,
            folder / "kernels.db",
            f"{seconds:.0f}s",
            tell=lambda done, wanted: progress.update(bar, completed=done, total=wanted),
        )
    before_s = json.loads(cost.read_text()) if cost.is_file() else 0.0
    cost.write_text(json.dumps(before_s + time.monotonic() - started))


def timed(folder: Path, number: int) -> None:
    """Time a pair, and each of its kernels; once more where the machine was disturbed."""
    work, artifact = work_of(folder, number), espalier.load(folder / str(number))
    x = np.random.default_rng(number).standard_normal((1, 3, SIZE, SIZE), "float32")
    tries, best_s = [], min([reference_seconds(), *references(folder)])
    while len(tries) < TRIES and all(reference_s > RULE.calm * best_s for _, reference_s in tries):
        before_s = reference_seconds()
        sample = NetworkSample.measured(work, artifact, x, blocks=BLOCKS)
        tries.append((sample, max(before_s, reference_seconds())))
    sample, reference_s = min(tries, key=lambda one: one[1])
    time_path(folder, number).write_text(json.dumps([sample.seconds, sample.kernel_seconds, reference_s]))


@cache
def reference() -> Callable[[], float]:
    """A call that times products in registers."""
    target = resolve_target(TARGET)
    isa = isa_of(target)
    library = tvm.compile(tvm.IRModule({"peak": peak_kernel(isa, 1).with_attr("global_symbol", "peak")}), target)
    arguments = [tvm.runtime.tensor(np.full(shape, 0.5, "float32")) for shape in peak_shapes(isa, 1).values()]
    evaluated = library.mod.time_evaluator("peak", tvm.cpu(), number=1, repeat=REFERENCE_RUNS)
    return lambda: float(evaluated(*arguments).median)


def reference_seconds() -> float:
    """What the loop takes now."""
    return reference()()


def references(folder: Path) -> list[float]:
    """What the loop took beside each pair that is timed."""
    paths = [time_path(folder, number) for number in range(PAIRS)]
    return [json.loads(path.read_text())[2] for path in paths if path.is_file()]


def sample_of(folder: Path, number: int) -> NetworkSample:
    """A measured pair."""
    seconds, kernels, _ = json.loads(time_path(folder, number).read_text())
    return NetworkSample(work_of(folder, number), seconds, tuple(kernels))


def report(folder: Path) -> None:
    """Ask about each fifth of the pairs what was learned from the others."""
    numbers = [number for number in range(PAIRS) if time_path(folder, number).is_file()]
    samples, beside = [sample_of(folder, number) for number in numbers], references(folder)
    table, described = table_in(folder)
    measured = np.array([one.seconds for one in samples])
    without, given = Asked.of(samples, []), Asked.of(samples, table)
    results = {
        "pairs": len(samples),
        "pairs_wanted": PAIRS,
        "pairs_disturbed": sum(one > RULE.calm * min(beside) for one in beside),
        "bar": BAR_SHARE,
        "with_table": given.judged(measured),
        "without_table": without.judged(measured),
        "with_measured_kernels": quality(without.bounds, measured),
        "table": described,
        "described_s": median(json.loads(work_path(folder, number).read_text())["described_s"] for number in numbers),
        "measured_predicted_deviation": np.column_stack([measured, given.answers]).tolist(),
    }
    Console().print({name: value for name, value in results.items() if name != "measured_predicted_deviation"})
    write_record("network_latency", results)


@dataclass(frozen=True)
class Asked:
    """Of each pair: answers [pairs, 2], seconds and deviation; bounds [pairs], by its kernels' own times.

    known: [pairs] the share of the asked network's kernels whose time was known. answer_s: for one answer.
    """

    answers: np.ndarray
    bounds: np.ndarray
    known: np.ndarray
    answer_s: float

    @staticmethod
    def of(samples: Sequence[NetworkSample], table: Sequence[Sample]) -> Asked:
        """Ask about each fifth of the networks what was learned from the others and from the table."""
        (bounds, known), answers, answer_s = np.zeros((2, len(samples))), np.zeros((len(samples), 2)), 0.0
        for fold in track(range(FOLDS), "asking"):
            places = range(fold, len(samples), FOLDS)
            predictor = LatencyPredictor()
            predictor.fit([one for place, one in enumerate(samples) if place % FOLDS != fold], table)
            started = time.perf_counter()
            found = predictor.predict_all([samples[place].work for place in places])
            answer_s += time.perf_counter() - started
            answers[places] = [(one.seconds, one.deviation) for one in found]
            bounds[places] = [predictor.sum_of(samples[place]) for place in places]
            known[places] = [np.mean(list(map(predictor.kernels.knows, samples[one].work.kernels))) for one in places]
        return Asked(answers, bounds, known, answer_s / len(samples))

    def judged(self, measured: np.ndarray) -> dict:
        """How near the answers come, and how sure they were; also those about networks whose kernels are all known."""
        (predicted, deviations), whole = self.answers.T, self.known == 1
        sure = np.abs(np.log(predicted / measured)) <= 2 * deviations
        return {
            **quality(predicted, measured),
            "within_two_deviations": float(np.mean(sure)),
            "answer_s": self.answer_s,
            "kernels_known": float(np.mean(self.known)),
            "pairs_known": int(np.sum(whole)),
            "of_known_pairs": quality(predicted[whole], measured[whole]) if np.sum(whole) > 1 else None,
        }


def table_in(folder: Path) -> tuple[list[Sample], dict]:
    """The table of single kernels, and what it cost and is worth; nothing before any was measured."""
    path = folder / "kernels.db"
    if not path.is_file():
        return [], {"kernels": 0}
    with RecordFile(path) as file:
        records = file.read()
    table, tried = table_of(records), {(one.task, one.choice) for one in records}
    cost = {"kernels": len(table), "disturbed_or_failed": len(tried) - len(table)}
    measuring_s = json.loads((folder / "kernels.json").read_text())
    return table, {**cost, "measuring_s": measuring_s, "outside_of_a_table": outside(table)}


def outside(table: Sequence[Sample]) -> dict[str, float]:
    """How well the model of kernels predicts each fifth of a table from the others."""
    order, predicted = np.random.default_rng(0).permutation(len(table)), np.zeros(len(table))
    for fold in track(range(FOLDS), "kernels outside of a table"):
        model = ResidualProcess(KERNELS_IN_NETWORKS)
        model.fit([table[place] for number, place in enumerate(order) if number % FOLDS != fold])
        for place in order[fold::FOLDS]:
            predicted[place] = np.exp(model.predict(table[place].task, [table[place].option]).log_seconds[0])
    return quality(predicted, np.array([one.seconds for one in table]))


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
