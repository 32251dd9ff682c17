"""Does searching find better fronts than chance, and everything together better than one thing after the other?

Networks of the supernet's space with their number formats, for a target: on llvm accuracy over predicted latency, on an
FPGA accuracy over cycles. Each way has the same number of evaluations, for five seeds:

- the samplers of `espalier search`, all dimensions together;
- random: every point with the same chance;
- staged: the architecture first (8-bit weights, the fastest folding), then for networks of that front the formats, then
  the folding, a third of the evaluations each (half, where there is no folding).

The measure is the hypervolume of the front over the reference point: no accuracy beyond a tenth of the images, and the
worst latency or cycles that any run saw. Evaluations are kept in --folder and shared by all runs. Also told: how many a
minute there are with the latency predictor, and where each network is compiled and measured.

    python benchmarks/bench_search.py --supernet supernet-resnet-cifar/weights.pt
    python benchmarks/bench_search.py --supernet supernet-resnet-cifar/weights.pt --target fpga_hls/pynq-z2
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean, median, stdev

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from support import REPOSITORY
from support import bars as told
from support.bars import Bar
from support.records import merged_rows, write_record
from support.search import Kept, kept_problem, narrowed, networks_of

from espalier.core.choice_space import Point
from espalier.tuning.budget import Budget
from espalier.tuning.nas.front import hypervolume
from espalier.tuning.nas.joint_space import JointSpace
from espalier.tuning.nas.problem import Problem
from espalier.tuning.nas.search import problem_of
from espalier.tuning.nas.study import Evaluated, Search, front_of
from espalier.tuning.nas.supernet_networks import SupernetNetworks

RECORD, SEEDS, EVALUATIONS, STEPS = "search", 5, 60, (10, 20, 30, 40, 50, 60)
JOINT, CONTROLS = ("nsga2", "qlognehvi"), ("staged", "random")
WAYS, TARGETS = (*JOINT, *CONTROLS), ("llvm", "fpga_hls/pynq-z2")
CHANCE = 0.1
"""Accuracy of guessing."""

EIGHT_BITS, FASTEST = "uniform<8>", 0
MEASURED = 12
"""Networks that are compiled and measured, to tell what the predictor saves."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--supernet", type=Path, help="its weights, if they do not come with the package")
    parser.add_argument("--space", default="resnet-cifar")
    parser.add_argument("--target", default="llvm")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "benchmarks" / "out" / "search")
    options = parser.parse_args()
    space = JointSpace.of(options.space, options.target)
    networks = networks_of(space, options.supernet)
    objectives = "accuracy,cycles" if space.is_fpga else "accuracy,latency"
    problem, kept = kept_problem(space, networks, objectives, options.folder / options.target.replace("/", "-"))
    cases = [(way, seed) for seed in range(SEEDS) for way in options.ways.split(",")]
    runs = {case: run(problem, *case) for case in track(cases, "searching")}
    rows = [row(way, options.target, problem, runs) for way in options.ways.split(",")]
    rows += [] if space.is_fpga else [cost(space, networks, problem, kept, options.target)]
    rows = merged_rows(RECORD, rows, ("target", "way"))
    Console().print(shown([one for one in rows if one["target"] == options.target]), told.shown(bars(rows)))
    write_record(RECORD, rows)


def bars(rows: list[dict] | None) -> list[Bar]:
    """Of both targets; of no rows, not measured."""
    return [
        bar for target in TARGETS for bar in _bars_of(target, [one for one in rows or () if one["target"] == target])
    ]


def _bars_of(target: str, rows: list[dict]) -> list[Bar]:
    last = {one["way"]: one["shares"][str(STEPS[-1])] for one in rows if "shares" in one}
    joint = max((last[way] for way in JOINT if way in last), default=None)
    found = [
        _more(f"{target}: searched together, hypervolume against {other}", joint, last.get(other)) for other in CONTROLS
    ]
    if target != TARGETS[0]:
        return found
    ratio = next((one["ratio"] for one in rows if one["way"] == "cost"), None)
    return [*found, Bar(f"{target}: evaluations a minute, with predictors against without", "measured", ratio, True)]


def _more(name: str, one: float | None, other: float | None) -> Bar:
    if one is None or other is None:
        return Bar(name, "more", None, False)
    return Bar(name, "more", f"{one:.3f} against {other:.3f}", one > other)


def run(problem: Problem, way: str, seed: int) -> list[Evaluated]:
    """What is evaluated, in order."""
    if way == "staged":
        return staged(problem, seed)
    search = Search(problem, None, way, seed)
    search.run(Budget(trials=EVALUATIONS))
    return search.evaluated


def staged(problem: Problem, seed: int) -> list[Evaluated]:
    """Architecture, then formats, then folding: each phase varies its dimensions of every network on the last front."""
    dimensions = problem.space.dimensions
    formats = {name: EIGHT_BITS for name in dimensions if name.endswith(".weights")}
    folding = {name: FASTEST for name in dimensions if name == "frames_per_s"}
    first = set(dimensions) - set(formats) - set(folding)
    phases = [one for one in (first, set(formats), set(folding)) if one]
    bases: list[Point] = [{**formats, **folding}]
    found: dict[str, Evaluated] = {}
    for number, phase in enumerate(phases, 1):
        until = EVALUATIONS * number // len(phases)
        for place, base in enumerate(bases):
            fixed = {name: value for name, value in base.items() if name not in phase}
            search = Search(narrowed(problem, fixed), None, "nsga2", seed)
            search.run(Budget(trials=max(1, (until - len(found)) // (len(bases) - place))))
            found |= {one.text: one for one in search.evaluated if len(found) < until}
        bases = [one.point for one in front_of(problem, list(found.values()))]
    return list(found.values())


def losses(problem: Problem, points: list[Evaluated]) -> np.ndarray:
    """float64 [points, 2], less is better."""
    return np.array([[one.loss(point.values[one.name].number) for one in problem.objectives] for point in points])


def row(way: str, target: str, problem: Problem, runs: dict) -> dict:
    """Means and deviations over seeds, as shares of the best front of all runs together."""
    everything = losses(problem, [one for points in runs.values() for one in points])
    reference = np.array([-CHANCE, everything[:, 1].max()])
    best = hypervolume(everything, reference)
    mine = [points for (name, _), points in runs.items() if name == way]
    reached = [[hypervolume(losses(problem, points[:step]), reference) / best for step in STEPS] for points in mine]
    return {
        "target": target,
        "way": way,
        "seeds": len(mine),
        "evaluations": [len(points) for points in mine],
        "reference": reference.tolist(),
        "hypervolume": best,
        "shares": dict(zip(map(str, STEPS), map(mean, zip(*reached)))),
        "deviations": dict(zip(map(str, STEPS), map(stdev, zip(*reached)))),
    }


def cost(space: JointSpace, networks: SupernetNetworks, problem: Problem, kept: Kept, target: str) -> dict:
    """Seconds an evaluation takes by prediction, and where each network is compiled and measured instead."""
    predicted = [
        kept.seconds[text]
        for text, values in kept.values.items()
        if isinstance(values, dict) and values["latency"][1].startswith("predicted")
    ]
    compiling = problem_of(space, networks, problem.objectives, (), is_measured=True)
    measured = Kept(kept.path.with_name("measured.json"))
    random = np.random.default_rng(0)
    for _ in range(MEASURED):
        measured.value(space.choices.sample(random), compiling.evaluate)
    each, compiled = median(predicted), median(measured.seconds.values())
    facts = {"networks": len(predicted), "compiled": len(measured.seconds)}
    return {
        "target": target,
        "way": "cost",
        "predicted_s": each,
        "compiled_s": compiled,
        "predicted_per_minute": 60 / each,
        "compiled_per_minute": 60 / compiled,
        "ratio": compiled / each,
        **facts,
    }


def shown(rows: list[dict]) -> Table:
    """A line for each way, and what an evaluation costs."""
    table = Table(title="share of the best hypervolume of all runs")
    for heading in ("way", *(f"{step} evaluations" for step in STEPS)):
        table.add_column(heading)
    for one in rows:
        if "shares" in one:
            cells = (f"{one['shares'][str(step)]:.3f} ± {one['deviations'][str(step)]:.3f}" for step in STEPS)
            table.add_row(one["way"], *cells)
        else:
            table.caption = (
                f"evaluations a minute: {one['predicted_per_minute']:.1f} with predictors, "
                f"{one['compiled_per_minute']:.1f} compiled and measured, {one['ratio']:.1f} times as many"
            )
    return table


if __name__ == "__main__":
    main()
