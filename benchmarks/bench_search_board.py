"""Is what a search found for an FPGA board faster than the accelerator that was made by hand?

--study is a folder that `espalier search` wrote for the board, its front built (with --fine-tune, as the record says).
Every point of it is an accelerator that was generated for the board: its accuracy is that of its integer network, which
it computes bit for bit, on the half of CIFAR-10's test set that the search has not seen; its cycles are those between
images, by the model of the generator, and of the fastest one at 86 % or better also in a simulation of its
SystemVerilog. By hand: ResNet-8 with mixed arithmetic (checkpoints/resnet8-mixed.pt), folded for 20,000 cycles. The
bars: eight points whose resources, by the models before synthesis, are within the part, and which none of the others
beats as built; and fewer cycles than by hand.

    espalier search --target fpga_hls/pynq-z2 --objectives accuracy,cycles --data DATA --fine-tune 10 -o board/
    python benchmarks/bench_search_board.py --study board/
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from support import bars as told
from support import checkpoints, data_folder
from support.accelerators import BOARD, Source, top1
from support.bars import Bar
from support.records import write_record

import espalier
from espalier.codegen.fpga_hls.program import FpgaProgram
from espalier.core.errors import InvalidInputError
from espalier.targets.boards import BY_NAME
from espalier.tuning.nas.built_front import Built
from espalier.tuning.nas.finished import read_study
from espalier.tuning.nas.front import front as pareto
from espalier.tuning.nas.supernet_networks import Split

RECORD = "search_board"
BAR_POINTS, BAR_TOP1, HAND_CYCLES = 8, 86.0, 20_000
RESOURCES = ("luts", "dsps", "bram_36k")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--simulate", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    front = read_study(options.study).front
    if not front:
        raise InvalidInputError(f"study {options.study.name}: its front was not built, accepted is one that was")
    folders = {one.folder: options.study / "front" / one.folder for one in front}
    rows = with_front([row(one, espalier.load(folders[one.folder]).program) for one in front])
    hand = by_hand(Split.of(data_folder()))
    accurate = [one for one in rows if one["top1"] >= BAR_TOP1 and one["fits"]]
    fastest = min(accurate, key=lambda one: one["cycles"], default=None)
    if fastest and options.simulate:
        fastest["simulated_cycles"] = simulated_cycles(espalier.load(folders[fastest["folder"]]))
    found = {
        "rows": rows,
        "hand": hand,
        "points_that_fit": sum(one["fits"] for one in rows),
        "points_on_front": sum(one["on_front"] for one in rows),
        "fastest": fastest and fastest["folder"],
        "cycles_of_hand": fastest and fastest["cycles"] / hand["cycles"],
        "bars": {"points": BAR_POINTS, "top1": BAR_TOP1},
    }
    Console(width=120).print(shown(rows, hand), told.shown(bars(found)))
    write_record(RECORD, found)


def bars(results: dict | None) -> list[Bar]:
    """Of no results, not measured."""
    points, cycles = (results["points_on_front"], results["cycles_of_hand"]) if results else (None, None)
    name = f"{BOARD}: cycles of the fastest at {BAR_TOP1:g} % or better, as a share of those by hand"
    none = "none is that accurate" if results and cycles is None else None
    fewer = Bar(name, "< 1", cycles if cycles is not None else none, cycles is not None and cycles < 1)
    return [Bar.least(f"{BOARD}: points that fit and that no other one beats as built", points, BAR_POINTS), fewer]


def row(one: Built, program: FpgaProgram) -> dict:
    """A point of the front."""
    return {
        "folder": one.folder,
        "architecture": one.architecture,
        "point": one.point.point,
        "believed": {name: [value.number, value.how] for name, value in one.point.values.items()},
        "top1": 100 * one.measured["accuracy"].number,
        "how": one.measured["accuracy"].how,
        **costs(program),
        "fits": program.resources.within(BY_NAME[BOARD].resources),
    }


def with_front(rows: list[dict]) -> list[dict]:
    """The rows, each with whether it fits and none that does has as few cycles and as high an accuracy."""
    fitting = [number for number, one in enumerate(rows) if one["fits"]]
    kept = pareto(np.array([[rows[number]["cycles"], -rows[number]["top1"]] for number in fitting]).reshape(-1, 2))
    chosen = {fitting[place] for place in kept}
    return [{**one, "on_front": number in chosen} for number, one in enumerate(rows)]


def by_hand(split: Split) -> dict:
    """The accelerator that was made by hand, judged by the same images."""
    source = Source.of(checkpoints.FOLDER / "resnet8-mixed.pt")
    program, (images, labels) = source.program(HAND_CYCLES), split.final
    return {"top1": top1(program, source.inputs(images), labels), **costs(program)}


def costs(program: FpgaProgram) -> dict:
    """Cycles between images, and resources before synthesis."""
    resources = {name: getattr(program.resources, name) for name in RESOURCES}
    return {"cycles": program.schedule.interval_cycles, **resources}


def simulated_cycles(artifact: espalier.Artifact) -> int:
    """Between images, in Verilator; raises if a number differs from the integer network's."""
    return artifact.profile(np.zeros((1, 3, 32, 32), np.float32), simulate="rtl").interval_cycles


def shown(rows: list[dict], hand: dict) -> Table:
    """A line for each accelerator, fastest first."""
    table = Table(title=f"accelerators for {BOARD}")
    for heading in ("architecture", "top-1, %", "cycles", *RESOURCES):
        table.add_column(heading)
    for one in sorted([*rows, {"architecture": "ResNet-8, mixed, by hand", **hand}], key=lambda one: one["cycles"]):
        numbers = (f"{one['top1']:.2f}", f"{one['cycles']:,}", *(f"{one[name]:,.5g}" for name in RESOURCES))
        table.add_row(one["architecture"], *numbers)
    return table


if __name__ == "__main__":
    main()
