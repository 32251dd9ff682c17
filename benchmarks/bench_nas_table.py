"""How much of the best front do the samplers find in a table of measured networks?

NAS-Bench-201's 15,625 cells with their error on CIFAR-10 and their latency on an FPGA (`support/nas_tables.py`; the
folder nas-tables/ of ESPALIER_DATA). The hypervolume after 25, 50 and 100 evaluations, as a share of that of the whole
table's front; means of five seeds. The reference point is the table's largest error, and the largest latency on the
best front. The bar is 95.9 % after 100, what qLogNEHVI alone reached where random search reached 92.4 %.

    python benchmarks/bench_nas_table.py

A model sees of a cell what `nas_tables` describes it by: its edges, and the part of them that is alive. Nothing is
timed, so it may run beside other work.
"""

from __future__ import annotations

import argparse
from statistics import mean, stdev

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from support import bars as told
from support.bars import Bar
from support.nas_tables import OPERATIONS, nasbench201, nasbench201_error
from support.records import merged_rows, write_record

from espalier.core.choice_space import ChoiceSpace, Point
from espalier.tuning.budget import Budget
from espalier.tuning.nas.front import front, hypervolume
from espalier.tuning.nas.problem import OBJECTIVES, Problem, Value
from espalier.tuning.nas.samplers import SAMPLERS
from espalier.tuning.nas.study import Search

RECORD, STEPS, SEEDS, BAR, DEVICE = "nas_table", (25, 50, 100), 5, 0.959, "fpga"


class Cells:
    """The table as a problem."""

    def __init__(self) -> None:
        table, self.error = nasbench201()[DEVICE], nasbench201_error()
        self.latency_s = table.seconds
        self.numbers = {tuple(row): number for number, row in enumerate(table.settings.tolist())}
        self.losses = np.stack([self.error, self.latency_s], 1)
        best = self.losses[front(self.losses)]
        self.reference = np.array([self.error.max(), best[:, 1].max()])
        self.best = hypervolume(best, self.reference)
        space = ChoiceSpace({name: tuple(OPERATIONS) for name in table.names})
        self.problem = Problem(
            space,
            (OBJECTIVES["accuracy"], OBJECTIVES["latency"]),
            self.evaluate,
            columns=lambda point: table.columns[self.number(point)],
        )

    def number(self, point: Point) -> int:
        """Of a cell in the table."""
        return self.numbers[tuple(OPERATIONS.index(value) for value in point.values())]

    def evaluate(self, point: Point) -> dict[str, Value]:
        """As the table has it."""
        number = self.number(point)
        return {
            "accuracy": Value(1 - float(self.error[number]), "NAS-Bench-201"),
            "latency": Value(float(self.latency_s[number]), "HW-NAS-Bench"),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    names = parser.parse_args().samplers.split(",")
    cells = Cells()
    cases = [(name, seed) for name in names for seed in range(SEEDS)]
    found = {case: shares(cells, *case) for case in track(cases, "searching")}
    rows = [row(name, [found[name, seed] for seed in range(SEEDS)], cells) for name in names]
    rows = merged_rows(RECORD, rows, ["sampler"])
    Console().print(shown(rows), told.shown(bars(rows)))
    write_record(RECORD, rows)


def shares(cells: Cells, name: str, seed: int) -> list[float]:
    """Of the best hypervolume, after each number of evaluations."""
    search = Search(cells.problem, None, name, seed)
    search.run(Budget(trials=STEPS[-1]))
    numbers = [cells.number(one.point) for one in search.evaluated]
    return [hypervolume(cells.losses[numbers[:step]], cells.reference) / cells.best for step in STEPS]


def row(name: str, runs: list[list[float]], cells: Cells) -> dict:
    """Means and deviations over seeds."""
    last = [one[-1] for one in runs]
    shares = dict(zip(map(str, STEPS), map(mean, zip(*runs))))
    facts = {"reference": cells.reference.tolist(), "bar": BAR, "held": mean(last) >= BAR}
    return {"sampler": name, "seeds": len(runs), "shares": shares, "deviation": stdev(last), **facts}


def bars(rows: list[dict] | None) -> list[Bar]:
    """Of the best sampler; of no rows, not measured."""
    best = max((row["shares"][str(STEPS[-1])] for row in rows or ()), default=None)
    return [Bar.least(f"NAS-Bench-201, share of the best hypervolume after {STEPS[-1]}", best, BAR)]


def shown(rows: list[dict]) -> Table:
    """A line for each sampler."""
    table = Table(title=f"share of the best hypervolume (bar: {BAR} after {STEPS[-1]})")
    for heading in ("sampler", *map(str, STEPS), "deviation"):
        table.add_column(heading)
    for one in rows:
        table.add_row(one["sampler"], *(f"{share:.3f}" for share in one["shares"].values()), f"{one['deviation']:.3f}")
    return table


if __name__ == "__main__":
    main()
