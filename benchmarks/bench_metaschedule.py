"""Are kernels that our tuner finds faster than what MetaSchedule finds?

The float32 tasks of `bench_tuning.py`: eight convolutions drawn from ResNet-18, MobileNet-V2 and VGG-16. Ours is the
fastest of --own trials of the guided search, MetaSchedule's the best of 64 trials; its weights come in the layout that
its schedule asks for, as ours do. Then both run by turns in one process, on one thread. The bar is 1.5 times
MetaSchedule's speed, as a geometric mean. Winograd is beyond MetaSchedule, so the fastest of our trials that sums
directly runs along; where none does, the one that the rule likes best.

What was tuned lies in --folder, and rows that are in the record stay, so the same command goes on where it was stopped.

    python benchmarks/bench_metaschedule.py --folder peers/ [--minutes 60] [--own 24]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import geometric_mean

import numpy as np
import tvm
from bench_tuning import sampled
from rich.console import Console
from support.records import merged_rows, write_record
from tvm.s_tir.meta_schedule.arg_info import ArgInfo

import espalier
from espalier.codegen.cpu import trial as kernels
from espalier.codegen.cpu.spaces import options, problem_of_task
from espalier.core.choices import Choice
from espalier.core.records import Record, RecordedTimes, RecordFile, of_environment
from espalier.measure import trials
from espalier.measure.devices import Local, Session
from espalier.measure.environment import record_environment
from espalier.measure.steady import Reference, Steady, SteadyRule, steady_times
from espalier.measure.trial_runner import TrialRunner
from espalier.targets.resolve import resolve_target
from espalier.tuning.budget import Budget
from espalier.tuning.cost_model.choose import new_model
from espalier.tuning.metaschedule import TRIALS, PeerResult, tune_task
from espalier.tuning.network_tasks import NetworkTask
from espalier.tuning.records import Notebook
from espalier.tuning.tune import SEARCHES
from espalier.tuning.tuner import Tuner

BAR, WINOGRAD = 1.5, "winograd"
RULE = SteadyRule(least=6, most=20, clearly=math.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--own", type=int, default=24)
    options = parser.parse_args()
    espalier.set_threads(1)
    target = resolve_target({"kind": "llvm", "num-cores": 1})
    tasks, end = sampled(target, ["float32"]), time.monotonic() + 60 * options.minutes
    wanted = {task.task.text for task in tasks}  # a task names its processor: rows of another machine go
    rows = [row for row in merged_rows("metaschedule", [], ("task",)) if row["task"] in wanted]
    for task in tasks:
        if all(row["task"] != task.task.text for row in rows) and time.monotonic() < end:
            rows.append(compared(task, options.folder, options.own))
            write_record("metaschedule", rows)
    Console().print(*({name: row[name] for name in row if name != "task"} for row in rows), sep="\n")
    if rows:
        ratio = geometric_mean(row["times_faster"] for row in rows)
        print(f"{len(rows)} of {len(tasks)} tasks: {ratio:.2f} times as fast as MetaSchedule (bar {BAR})")


def compared(task: NetworkTask, folder: Path, own: int) -> dict:
    """A row: both tuned, and timed by turns."""
    known = own_times(task, folder / "records.db", own)
    peer = tune_task(task, folder / "metaschedule", TRIALS)
    tried = sorted(known, key=lambda choice: known[choice].seconds)
    best, best_direct = tried[0], next(one for one in (*tried, direct_choice(task)) if one.family != WINOGRAD)
    times = by_turns(task, {"own": best, "direct": best_direct}, peer)
    seconds = {name: one.timing.median_s for name, one in times.items()}
    return {
        "task": task.task.text,
        "shapes": {name: list(shape) for name, shape in task.task.facts["shapes"].items()},
        "choice": str(best),
        "direct_choice": str(best_direct),
        **{f"{name}_s": one for name, one in seconds.items()},
        "quartiles_s": {name: [one.timing.quartile1_s, one.timing.quartile3_s] for name, one in times.items()},
        "times_faster": seconds["metaschedule"] / seconds["own"],
        "times_faster_direct": seconds["metaschedule"] / seconds["direct"],
        "trials": {"own": len(known), "metaschedule": peer.trials, "metaschedule_failed": peer.failed},
        "disturbed": not all(one.calm for one in times.values()),
    }


def direct_choice(task: NetworkTask) -> Choice:
    """What the rule takes where Winograd is refused; in some spaces nothing else comes near Winograd's tiles."""
    problem, isa = problem_of_task(task.task)
    spec = dataclasses.replace(problem.spec, winograd=False)
    return options(dataclasses.replace(problem, spec=spec), isa)[0].choice


def own_times(task: NetworkTask, path: Path, trials_wanted: int) -> Mapping[Choice, Record]:
    """What so many trials of our tuner say, those in the file included."""
    environment = record_environment()
    with RecordFile(path, write=True) as file, TrialRunner() as runner:
        book = Notebook(file, print)
        done = sum(one.task == task.task for one in of_environment(book.records, environment))
        tuner = Tuner([task], runner, book, environment, new_model("gp"), SEARCHES["guided"](), little=0.0)
        if done < trials_wanted:
            tuner.run(Budget(trials=trials_wanted - done))
        records = of_environment(book.records, environment)
    return RecordedTimes.of(records, path.name).known[task.task.text]


def by_turns(task: NetworkTask, choices: Mapping[str, Choice], peer: PeerResult) -> dict[str, Steady]:
    """Times of our kernels and of the peer's, by turns."""
    session = Local().session(1)
    ours = kernels.library_of(task.task, list(choices.values())).mod
    names = dict(zip(choices, kernels.names_of(choices)))
    timers = {one: own_timer(task, choice, ours, names[one], session) for one, choice in choices.items()}
    library = tvm.compile(peer.module, resolve_target(task.task.device)).mod
    arguments = peer_arguments(peer)
    timers["metaschedule"] = trials.timer(library, "main", session.tensors(arguments), session, is_cold(task, choices))
    reference = session.tensors(kernels.reference_arguments(task.task))
    steady = Reference(trials.timer(ours, kernels.REFERENCE, reference, session, False))
    return steady_times(timers, steady, RULE)


def own_timer(task: NetworkTask, choice: Choice, library, name: str, session: Session) -> Callable[[], float]:
    """Of one of our kernels."""
    trial = kernels.Trial(task.task, choice)
    arguments = trial.arguments(kernels.arrays_of(task.task))
    return trials.timer(library, name, session.tensors(arguments), session, trial.is_cold(arguments))


def is_cold(task: NetworkTask, choices: Mapping[str, Choice]) -> bool:
    """Whether weights as they are stored, without Winograd's transform, are timed out of the caches."""
    trial = kernels.Trial(task.task, choices["direct"])
    return trial.is_cold(trial.arguments(kernels.arrays_of(task.task)))


def peer_arguments(peer: PeerResult) -> list[np.ndarray]:
    """Random arrays of the shapes that the schedule takes, the output last."""
    random = np.random.default_rng(0)
    shapes = [tuple(map(int, one.shape)) for one in ArgInfo.from_entry_func(peer.module, False)]
    return [random.standard_normal(shape, np.float32) for shape in shapes]


if __name__ == "__main__":
    main()
