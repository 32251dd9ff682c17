"""Are hand-made networks dominated by what a search found?

--study is a folder that `espalier search` wrote for llvm, its front built (with --fine-tune, as the record says). The
networks of hand: ResNet-8 (benchmarks/checkpoints/resnet8-taught.pt), ResNet-20 and M-CifarNet with their published
weights, each in float32 and in uniform<8>; the better of both is the one that no other plan of it beats. All are
compiled programs, judged by the same images (half of the test set, which the search has not seen) and timed by turns
on one thread. A network is dominated where one of the front is at least as accurate and at least as fast, and better
in one of both.

    espalier search --data DATA --budget 150trials --limit 'latency<=0.19ms' --limit 'accuracy>=84%' --points 2 -o llvm
    python benchmarks/bench_search_front.py --study llvm
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tvm
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import spearmanr
from support import bars as told
from support import checkpoints, data_folder
from support.bars import Bar
from support.networks import cifar_resnet, mcifarnet
from support.records import write_record

import espalier
from espalier.frontend import bundled
from espalier.measure.compare import calm_timings
from espalier.tuning.nas.finished import read_study
from espalier.tuning.nas.supernet_networks import Split, top1

RECORD, BAR_SPEARMAN = "search_front", 0.95
FORMATS = ("float32", "uniform<8>")
HAND_MADE = {
    "ResNet-8": lambda: checkpoints.finished(checkpoints.FOLDER / "resnet8-taught.pt").model,
    "ResNet-20": lambda: cifar_resnet(20),
    "M-CifarNet": mcifarnet,
}
RANGE_IMAGES = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True)
    study = parser.parse_args().study
    espalier.set_threads(1)
    split, front = Split.of(data_folder()), read_study(study).front
    artifacts = {f"front {one.folder}": espalier.load(study / "front" / one.folder) for one in front}
    for name, network in HAND_MADE.items():
        artifacts |= {f"{name} {fmt}": hand_made(network(), fmt, split) for fmt in FORMATS}
    accuracy = {name: top1(one, *split.final) for name, one in track(artifacts.items(), "classifying")}
    image = tvm.runtime.tensor(np.zeros((1, 3, 32, 32), "float32"))
    programs = {name: one.program for name, one in artifacts.items()}
    runs = {name: partial(one.machine["main"], image, *one.parameter_tensors) for name, one in programs.items()}
    timings = calm_timings(runs)
    rows = [
        {
            "network": name,
            "top1": 100 * accuracy[name],
            "latency_s": timing.median_s,
            "quartiles_s": [timing.quartile1_s, timing.quartile3_s],
        }
        for name, timing in timings.items()
    ]
    for row, one in zip(rows, front):
        values = {name: [value.number, value.how] for name, value in one.point.values.items()}
        row |= {"point": one.point.point, "architecture": one.architecture, "searched": values}
        row |= {"how": {name: value.how for name, value in one.measured.items()}}
    found, hand = rows[: len(front)], rows[len(front) :]
    for row in hand:
        row["dominated_by"] = [one["network"] for one in found if dominates(one, row)]
    facts = {"rows": rows, "images": len(split.final[1]), "spearman_latency": rank(found), "bar_spearman": BAR_SPEARMAN}
    Console(width=140).print(shown(rows), told.shown(bars(facts)))
    write_record(RECORD, facts)


def bars(results: dict | None) -> list[Bar]:
    """Of each network made by hand, and of the predictions; of no results, not measured."""
    rows = results["rows"] if results else []
    dominated = [Bar(f"{name} dominated", *domination(rows, name)) for name in HAND_MADE]
    rank_of = results and results["spearman_latency"]
    return [*dominated, Bar.least("front, latency predicted and measured: Spearman", rank_of, BAR_SPEARMAN)]


def domination(rows: list[dict], name: str) -> tuple[str, str | None, bool]:
    """(wanted, found, whether it is met) of a network: of each of its plans that no other plan of it beats."""
    wanted = "by a network of the front"
    plans = [row for row in rows if row["network"].startswith(f"{name} ")]
    best = [row for row in plans if not any(dominates(other, row) for other in plans)]
    if not best:
        return wanted, None, False
    found = "; ".join(f"{row['network']}: {', '.join(row['dominated_by']) or 'by none'}" for row in best)
    return wanted, found, all(row["dominated_by"] for row in best)


def hand_made(network: torch.nn.Module, weights: str, split: Split) -> espalier.Artifact:
    """Compiled, quantized after training where the format is."""
    mod, plan = espalier.from_torch(network, torch.zeros(1, 3, 32, 32)), espalier.Plan(weights=weights)
    if weights == "float32":
        return espalier.build(mod, plan=plan)
    inputs = bundled.normalise(split.calibration[:RANGE_IMAGES])
    return espalier.build(mod, plan=plan, calibration=espalier.calibrate(mod, inputs, plan))


def dominates(one: dict, other: dict) -> bool:
    """Whether one is nowhere worse and somewhere better."""
    better = (one["top1"] - other["top1"], other["latency_s"] - one["latency_s"])
    return min(better) >= 0 < max(better)


def rank(found: list[dict]) -> float | None:
    """Correlation of the latencies that the search had with those measured here."""
    if len(found) < 3:
        return None
    return float(spearmanr([one["searched"]["latency"][0] for one in found], [one["latency_s"] for one in found])[0])


def shown(rows: list[dict]) -> Table:
    """A line for each network, fastest first."""
    table = Table(title="CIFAR-10, one thread, batch 1")
    for heading in ("network", "top-1, %", "ms", "dominated by"):
        table.add_column(heading)
    for row in sorted(rows, key=lambda row: row["latency_s"]):
        name = " ".join(filter(None, (row["network"], row.get("architecture"))))
        table.add_row(
            name, f"{row['top1']:.2f}", f"{1e3 * row['latency_s']:.3f}", ", ".join(row.get("dominated_by", []))
        )
    return table


if __name__ == "__main__":
    main()
