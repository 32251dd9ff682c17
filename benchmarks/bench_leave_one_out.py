"""Does a cost model know the kernels of a network that it has not seen?

All tasks of ResNet-18, MobileNet-V2 and VGG-16 (batch 1, float32, dense and at density 0.5) with up to twelve choices
each, the rule's own and others at random, are measured once; what is measured lies in a file of records, and the same
command goes on where it was stopped. Then each network in turn is left out: the Gaussian process learns from the two
others and ranks all choices of all of its tasks, before any measurement of it and after 30 drawn at random. The bars
are rank correlations of 0.9 and 0.97. Ranks within a task, with at least eight choices measured, are given too: their
times lie close together, and noise sets a limit.

--save writes the model that the package carries, learned from all three.

    python benchmarks/bench_leave_one_out.py --records tasks.db [--minutes 10] [--save]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import spearmanr
from support.layers import imported
from support.records import write_record

from espalier.core.choices import Option, Task
from espalier.core.plan import Plan
from espalier.core.records import RecordedTimes, RecordFile, of_environment
from espalier.measure.environment import record_environment
from espalier.measure.trial_runner import TrialRunner
from espalier.targets.resolve import resolve_target
from espalier.tuning.cost_model.analytic import Analytic
from espalier.tuning.cost_model.choose import PRETRAINED_FILE
from espalier.tuning.cost_model.gaussian_process import ResidualProcess
from espalier.tuning.cost_model.interface import CostModel, Sample
from espalier.tuning.measure_kernels import DISTURBED
from espalier.tuning.network_tasks import network_tasks
from espalier.tuning.placeholder import placeholder_calibration
from espalier.tuning.tuner import BATCH, record_of

NETWORKS = ("ResNet-18", "MobileNet-V2", "VGG-16")
PLANS = (Plan(), Plan(density=0.5, placement="sum"))
CHOICES, FEW, SEEDS, WITHIN = 12, 30, 2, 8
MOST_LEARNED, MOST_SAVED = 600, 400
"""Points that a model learns from here, and that the package's model holds."""

BARS = (0.90, 0.97)
Work = dict[str, list[tuple[Task, list[Option]]]]
"""By network, tasks with the choices that are measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--save", action="store_true", help="write the package's model")
    options = parser.parse_args()
    work = drawn()
    measure(work, options.records, time.monotonic() + 60 * options.minutes)
    samples = measured(work, options.records)
    if min(map(len, samples.values())) < 2 * FEW:
        raise SystemExit(f"fewer than {2 * FEW} choices of a network are measured: run the same command again")
    rows = [left_out(name, samples) for name in NETWORKS]
    Console().print(shown(rows))
    write_record(
        "leave_one_out",
        {
            "choices": sum(len(options) for tasks in work.values() for _, options in tasks),
            "measured": {name: len(found) for name, found in samples.items()},
            "bars": BARS,
            "networks": rows,
        },
    )
    if options.save:
        model = ResidualProcess()
        model.fit(few_of([one for found in samples.values() for one in found], MOST_SAVED))
        model.save(PRETRAINED_FILE)


def drawn() -> Work:
    """Every task, each with the rule's own choice and others at random."""
    target, found, number = resolve_target({"kind": "llvm", "num-cores": 1}), {}, 0
    for name in track(NETWORKS, "tasks"):
        mod, tasks = imported(name), {}
        for plan in PLANS:
            for one in network_tasks(mod, target, plan, placeholder_calibration(mod, plan)):
                if one.task not in tasks and not any(one.task in dict(others) for others in found.values()):
                    order = np.random.default_rng(number).permutation(len(one.space) - 1)[: CHOICES - 1]
                    tasks[one.task] = [one.space[place] for place in (0, *(1 + order))]
                    number += 1
        found[name] = list(tasks.items())
    return found


def measure(work: Work, path: Path, end: float) -> None:
    """Measure what is missing: a few choices of every task, then a few more."""
    environment = record_environment()
    with RecordFile(path, write=True) as file, TrialRunner() as runner:
        records = of_environment(file.read(), environment)
        have = {(record.task, record.choice) for record in records if record.state != DISTURBED}
        for first in range(0, CHOICES, BATCH):
            for task, options in (pair for tasks in work.values() for pair in tasks):
                missing = [one.choice for one in options[first : first + BATCH] if (task, one.choice) not in have]
                if missing and time.monotonic() > end:
                    print("the time is over: run the same command again")
                    return
                if missing:
                    file.add(record_of(task, one, environment) for one in runner.run(task, missing))


def measured(work: Work, path: Path) -> dict[str, list[Sample]]:
    """The samples of each network."""
    with RecordFile(path) as file:
        records = of_environment(file.read(), record_environment())
    times = RecordedTimes.of(records, path.name)
    return {
        name: [
            Sample(task, one, seconds[one.choice])
            for task, options in tasks
            for seconds in [times.seconds(task, options)]
            for one in options
            if one.choice in seconds
        ]
        for name, tasks in work.items()
    }


def left_out(name: str, samples: dict[str, list[Sample]]) -> dict:
    """What is reached on a network by learning from the others; means over seeds after a few measurements."""
    others = [one for other, found in samples.items() if other != name for one in found]
    own, after, alone = samples[name], [], []
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(own))
        few, rest = ([own[number] for number in part] for part in (order[:FEW], order[FEW:]))
        after.append(ranks(learned(ResidualProcess(), few_of(others, MOST_LEARNED - FEW) + few), rest))
        alone.append(ranks(learned(ResidualProcess(), few), rest))
    before = ranks(learned(ResidualProcess(), few_of(others, MOST_LEARNED)), own)
    return {
        "network": name,
        "samples": len(own),
        "rule": ranks(learned(Analytic(), others), own),
        "before": before,
        "after": mean_of(after),
        "these_alone": mean_of(alone),
    }


def learned(model: CostModel, samples: Sequence[Sample]) -> CostModel:
    """The model, fitted."""
    model.fit(samples)
    return model


def few_of(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most so many, at random."""
    order = np.random.default_rng(0).permutation(len(samples))[:count]
    return [samples[number] for number in sorted(order)]


def ranks(model: CostModel, samples: Sequence[Sample]) -> dict[str, float]:
    """Rank correlation over all samples, and the mean of those within tasks."""
    by_task: dict[Task, list[Sample]] = {}
    for one in samples:
        by_task.setdefault(one.task, []).append(one)
    predicted, seconds, within = [], [], []
    for task, found in by_task.items():
        answers = model.predict(task, [one.option for one in found]).log_seconds
        predicted.append(answers)
        seconds.append([one.seconds for one in found])
        if len(found) >= WITHIN:  # who says the same of all choices ranks none
            within.append(float(spearmanr(answers, seconds[-1]).statistic) if np.ptp(answers) > 0 else 0.0)
    every = spearmanr(np.concatenate(predicted), np.concatenate(seconds)).statistic
    return {"spearman": float(every), "within_tasks": mean(within) if within else float("nan")}


def mean_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each value."""
    return {key: mean(row[key] for row in rows) for key in rows[0]}


def shown(rows: Sequence[dict]) -> Table:
    """A line for each network: over all choices, and within tasks."""
    table = Table(title=f"rank correlation, over all / within tasks (bars: {BARS[0]} before, {BARS[1]} after {FEW})")
    for heading in ("left out", "samples", "rule", "before", f"after {FEW}", f"these {FEW} alone"):
        table.add_column(heading)
    for row in rows:
        cells = [f"{row[key]['spearman']:.3f} / {row[key]['within_tasks']:.2f}" for key in ("rule", "before", "after")]
        cells.append(f"{row['these_alone']['spearman']:.3f} / {row['these_alone']['within_tasks']:.2f}")
        table.add_row(row["network"], str(row["samples"]), *cells)
    return table


if __name__ == "__main__":
    main()
