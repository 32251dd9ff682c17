"""How near to the best choice does the tuner come within twelve measurements of a task?

24 tasks, drawn with a recorded seed from ResNet-18, MobileNet-V2 and VGG-16 at batch 1: dense in float32, at density
0.5 (gates on residual sums too, random lists), and in int8. Every choice of each is measured once, at most the 160 that
the analytic rule expects to be the fastest; that takes long, so what is measured lies in a file of records, and the
same command goes on where it was stopped. Then every way to search is replayed on these times: what it would have found
after so many measurements, over the best of all, as a geometric mean over tasks and the
mean over seeds. Each replay knows nothing but the task itself. The bar is 0.97 after twelve for the guided search.

"The best of all" is the best of these choices; all of them are expected within 1.5 times of the best.

The record says how many of the 24 tasks it rests on: those of the plans that were asked for and measured to the end.

    python benchmarks/bench_tuning.py --records tuning.db [--minutes 60] [--threads 1] [--plans float32 "d = 0.5" int8]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import geometric_mean, mean

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from support.layers import imported
from support.records import write_record

from espalier.core.measurement import Timing
from espalier.core.plan import Plan
from espalier.core.records import Record, RecordFile, of_environment
from espalier.measure.environment import record_environment
from espalier.measure.steady import Steady
from espalier.measure.trial_runner import Outcome, TrialRunner
from espalier.targets.resolve import resolve_target
from espalier.tuning.budget import Budget
from espalier.tuning.cost_model.choose import new_model
from espalier.tuning.network_tasks import NetworkTask, network_tasks
from espalier.tuning.placeholder import placeholder_calibration
from espalier.tuning.records import Notebook
from espalier.tuning.tune import SEARCHES
from espalier.tuning.tuner import Tuner

PLANS = {
    "float32": Plan(),
    "d = 0.5": Plan(density=0.5, placement="sum"),
    "int8": Plan(weights="uniform<8>"),
}
SHARES = {"ResNet-18": (3, 3, 2), "MobileNet-V2": (3, 2, 3), "VGG-16": (2, 3, 3)}
"""How many tasks of a network are drawn under each plan."""

SEED, SEEDS, MOST_CHOICES = 2026, 3, 160
STEPS, BAR = (4, 8, 12, 24), 0.97
WAYS = (("guided", "gp"), ("guided", "xgboost"), ("guided", "analytic"), ("random", "random"))
"""(search, cost model) of each row."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plans", nargs="+", choices=list(PLANS), default=list(PLANS))
    options = parser.parse_args()
    target = resolve_target({"kind": "llvm", "num-cores": options.threads})
    tasks = sampled(target, options.plans)
    trials = measured(tasks, options.records, Budget(seconds=60 * options.minutes))
    whole = [task for task in tasks if len(trials[task.task]) == len(task.space)]
    if len(whole) < len(tasks):
        left = sum(len(task.space) - len(trials[task.task]) for task in tasks)
        print(f"{len(whole)} of {len(tasks)} tasks are measured, {left} trials are left: run the same command again")
    if not whole:
        return
    rows = [replayed(whole, trials, *way) for way in WAYS]
    Console().print(table(rows))
    wanted = sum(map(sum, SHARES.values()))
    header = {"threads": options.threads, "seed": SEED, "tasks_measured": len(whole), "tasks_wanted": wanted}
    write_record("tuning", {**header, "tasks": described(whole, trials), "rows": rows})


def sampled(target, plans: Sequence[str]) -> list[NetworkTask]:
    """The tasks: of each network and of these plans as many as SHARES says, drawn without replacement."""
    found: dict = {}
    for name, shares in SHARES.items():
        mod = imported(name)
        for number, ((plan_name, plan), share) in enumerate(zip(PLANS.items(), shares)):
            if plan_name not in plans:
                continue
            every = network_tasks(mod, target, plan, placeholder_calibration(mod, plan))
            tasks = [one for one in every if one.task not in found]
            order = np.random.default_rng((SEED, number)).permutation(len(tasks))
            found.update({tasks[one].task: tasks[one] for one in order[:share]})
    return [replace(task, space=task.space[:MOST_CHOICES]) for task in found.values()]


def measured(tasks: Sequence[NetworkTask], path: Path, budget: Budget) -> dict:
    """Trials by task and choice: those in the file, and what the budget allows of the others."""
    environment = record_environment()
    with RecordFile(path, write=True) as file, TrialRunner() as runner:
        for task in track(tasks if budget.seconds else [], "measuring"):
            book = Notebook(file, print)
            Tuner([task], runner, book, environment, new_model("random"), SEARCHES["exhaustive"](), little=0.0).run(
                budget
            )
        records = of_environment(file.read(), environment)
    spaces = {one.task: {option.choice for option in one.space} for one in tasks}
    return {
        task: {one.choice: one for one in records if one.task == task and one.choice in space}
        for task, space in spaces.items()
    }


class Replay:
    """A runner that answers with what was measured."""

    def __init__(self, trials: dict):
        self.trials = trials

    def run(self, task, choices) -> list[Outcome]:
        """The outcome of each choice."""
        return [outcome(self.trials[task][choice]) for choice in choices]


def outcome(record: Record) -> Outcome:
    """Of a trial that was recorded."""
    steady = Steady(Timing.of([record.seconds]), True) if record.seconds else None
    return Outcome(record.choice, record.state, steady)


def replayed(tasks: Sequence[NetworkTask], trials: dict, search: str, model: str) -> dict:
    """The geometric mean over tasks of the best time of all over the best one found, by number of measurements."""
    means = [geometric_means([shares(task, trials, search, model, seed) for task in tasks]) for seed in range(SEEDS)]
    return {"search": search, "model": model, **{str(step): mean(one) for step, one in zip(STEPS, zip(*means))}}


def geometric_means(rows: Sequence[Sequence[float]]) -> list[float]:
    """Of each column."""
    return [geometric_mean(column) for column in zip(*rows)]


def shares(task: NetworkTask, trials: dict, search: str, model: str, seed: int) -> list[float]:
    """The best time of all over the best of so many measurements, for each of STEPS."""
    tuner = Tuner([task], Replay(trials), Notebook(None), {}, new_model(model), SEARCHES[search](), seed, little=0.0)
    seconds: list[float] = []

    def keep(progress) -> None:
        seconds.extend(one.steady.timing.median_s if one.steady else np.inf for one in progress.outcomes)

    tuner.run(Budget(trials=max(STEPS)), keep)
    best = min(record.seconds for record in trials[task.task].values() if record.seconds)
    return [max(1e-3, best / min(seconds[:step])) for step in STEPS]


def described(tasks: Sequence[NetworkTask], trials: dict) -> list[dict]:
    """What was measured of each task."""
    found = []
    for task in tasks:
        good = [record for record in trials[task.task].values() if record.seconds]
        best, rule = min(good, key=lambda record: record.seconds), trials[task.task][task.space[0].choice]
        found.append(
            {
                "task": task.task.text,
                "choices": len(task.space),
                "best": str(best.choice),
                "best_s": best.seconds,
                "rule": str(rule.choice),
                "rule_s": rule.seconds,
                "disturbed": sum(record.state == "disturbed" for record in good),
                "failed": len(task.space) - len(good),
            }
        )
    return found


def table(rows: Sequence[dict]) -> Table:
    """A row for each way to search."""
    shown = Table(title=f"best of all / best found, after so many measurements (bar: {BAR} after 12)")
    for heading in ("search", "cost model", *map(str, STEPS)):
        shown.add_column(heading)
    for row in rows:
        shown.add_row(row["search"], row["model"], *(f"{row[str(steps)]:.3f}" for steps in STEPS))
    return shown


if __name__ == "__main__":
    main()
