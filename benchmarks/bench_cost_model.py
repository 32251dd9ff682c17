"""How well do the tuner's cost models predict what they have not seen, from how many measurements?

Other people's measurements of whole networks (`support/nas_tables.py`; the folder nas-tables/ of ESPALIER_DATA):

- every model after 30, 100 and 300 measurements, drawn at random: rank correlation with what was measured, and the
  share within 10 % of it, on 3,000 other networks. The bars at 100, for the Gaussian process: NAS-Bench-201 on an FPGA
  .990 and 89 %, ZCU102 .952, VCK190 .975.
- a new device from 10 measurements, drawn at random, given the models of nine other devices with 300 each. Known and
  new devices as HELP divides them; the bar is its mean rank correlation, .932.

    python benchmarks/bench_cost_model.py

Nothing is timed, so it may run beside other work. `plot_cost_model.py` draws the record.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from statistics import mean

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table as Shown
from scipy.stats import spearmanr
from support.nas_tables import Table, accel_nasbench, nasbench201
from support.records import write_record

from espalier.tuning.cost_model.analytic import Analytic
from espalier.tuning.cost_model.gaussian_process import ResidualProcess
from espalier.tuning.cost_model.gradient_boosting import REGRESSION, BoostedTrees
from espalier.tuning.cost_model.interface import CostModel
from espalier.tuning.cost_model.random_order import RandomOrder
from espalier.tuning.cost_model.transfer import TransferredProcess

STEPS, SEEDS, UNSEEN, CHUNK = (30, 100, 300), 3, 3000, 500
BARS = {"NAS-Bench-201, fpga": (0.990, 0.89), "zcu102": (0.952, None), "vck190": (0.975, None)}
"""Rank correlation, and share within 10 %, of the Gaussian process at 100 measurements."""

NEW = ("titan_rtx_256", "gold_6226", "pixel2", "raspi4", "eyeriss", "fpga")
KNOWN = (
    "1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r", "samsung_a50", "pixel3", "essential_ph_1",
    "samsung_s7",
)  # fmt: skip
KNOWN_POINTS, FEW, DRAWS, TRANSFER_BAR = 300, 10, 10, 0.932

MODELS: dict[str, tuple[Callable[[Table], CostModel], bool]] = {
    "gp": (lambda table: ResidualProcess(table.features), False),
    "gp on a rule's residual": (lambda table: ResidualProcess(table.features), True),
    "xgboost": (lambda table: BoostedTrees(REGRESSION, features=table.features), False),
    "xgboost, ranking": (lambda table: BoostedTrees(features=table.features), False),
    "analytic": (lambda table: Analytic(), True),
    "random": (lambda table: RandomOrder(), False),
}
"""How each is made, and whether it is told a rule's cycles (multiply-accumulates and passes over tensors)."""


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    console = Console()
    tables = {**{f"NAS-Bench-201, {name}": nasbench201()[name] for name in reversed(NEW)}, **accel_nasbench()}
    cases = [(name, model, steps) for name in tables for model in MODELS for steps in STEPS]
    rows = [learned(name, tables[name], model, steps) for name, model, steps in track(cases, "learning")]
    console.print(shown_models(rows))
    transfers = [transferred(name) for name in track(NEW, "transfer")]
    console.print(shown_transfers(transfers))
    bars = [verdict(rows, name, *bar) for name, bar in BARS.items()]
    reached = mean(row["spearman"] for row in transfers)
    write_record(
        "cost_model_tables",
        {"models": rows, "transfer": transfers, "bars": bars, "transfer_mean": reached, "transfer_bar": TRANSFER_BAR},
    )


def learned(name: str, table: Table, model: str, steps: int) -> dict:
    """Means over seeds of what a model reaches after so many measurements."""
    found = [quality(table, model, steps, seed) for seed in range(SEEDS)]
    spearman, within = (mean(one) for one in zip(*found))
    return {"table": name, "model": model, "measurements": steps, "spearman": spearman, "within_10_percent": within}


def quality(table: Table, name: str, steps: int, seed: int) -> tuple[float, float]:
    """Rank correlation and share within 10 %."""
    make, by_rule = MODELS[name]
    order, model = np.random.default_rng(seed).permutation(len(table.seconds)), make(table)
    model.fit(table.samples(order[:steps], by_rule))
    return compared(table, order[steps : steps + UNSEEN], model, by_rule)


def compared(table: Table, numbers: np.ndarray, model: CostModel, by_rule: bool) -> tuple[float, float]:
    """Rank correlation and share within 10 % of networks that the model has not seen."""
    parts = [numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK)]
    predicted = [model.predict(table.task, table.options(part, by_rule)).log_seconds for part in parts]
    ratios = np.exp(np.concatenate(predicted)) / table.seconds[numbers]
    spearman = spearmanr(np.concatenate(predicted), table.seconds[numbers]).statistic
    return float(spearman), float(np.mean(np.abs(ratios - 1) <= 0.1))


def transferred(name: str) -> dict:
    """Means over draws of a new device's few measurements; beside it a process that knows no other device."""
    tables, random = nasbench201(), np.random.default_rng(0)
    drawn = {one: random.permutation(len(tables[one].seconds))[:KNOWN_POINTS] for one in KNOWN}
    known = {one: tables[one].samples(numbers, False) for one, numbers in drawn.items()}
    model = TransferredProcess.learned(known, tables[name].features)
    alone, found = ResidualProcess(tables[name].features), []
    for seed in range(DRAWS):
        order = np.random.default_rng(seed).permutation(len(tables[name].seconds))
        for one in (model, alone):
            one.fit(tables[name].samples(order[:FEW], False))
        found.append([compared(tables[name], order[FEW : FEW + UNSEEN], one, False) for one in (model, alone)])
    spearman, within = np.mean(found, axis=0)[0]
    lone = float(np.mean(found, axis=0)[1][0])
    return {"device": name, "spearman": float(spearman), "within_10_percent": float(within), "alone": lone}


def verdict(rows: Sequence[dict], name: str, spearman: float, within: float | None) -> dict:
    """What the Gaussian process reaches at 100 measurements, beside the bar."""
    (row,) = [one for one in rows if (one["table"], one["model"], one["measurements"]) == (name, "gp", 100)]
    held = row["spearman"] >= spearman and row["within_10_percent"] >= (within or 0)
    return {**row, "bar_spearman": spearman, "bar_within_10_percent": within, "held": held}


def shown_models(rows: Sequence[dict]) -> Shown:
    """A line for each table and model."""
    shown = Shown(title="rank correlation / share within 10 %")
    for heading in ("table", "model", *map(str, STEPS)):
        shown.add_column(heading)
    for start in range(0, len(rows), len(STEPS)):
        part = rows[start : start + len(STEPS)]
        cells = [f"{row['spearman']:.3f} / {row['within_10_percent']:.2f}" for row in part]
        shown.add_row(part[0]["table"], part[0]["model"], *cells)
    return shown


def shown_transfers(rows: Sequence[dict]) -> Shown:
    """A line for each new device."""
    shown = Shown(title=f"a new device from {FEW} measurements (bar: mean {TRANSFER_BAR})")
    for heading in ("device", "transfer", "within 10 %", "without other devices"):
        shown.add_column(heading)
    for row in rows:
        shown.add_row(row["device"], *(f"{row[key]:.3f}" for key in ("spearman", "within_10_percent", "alone")))
    spearman, alone = (f"{mean(row[key] for row in rows):.3f}" for key in ("spearman", "alone"))
    shown.add_row("mean", spearman, "", alone)
    return shown


if __name__ == "__main__":
    main()
