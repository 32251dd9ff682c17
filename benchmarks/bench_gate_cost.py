"""What do the gates themselves cost?

The time of all gate kernels at d = 0.5, as a share of the dense network's time, batch 1, one thread. Gates are timed
where they run, by an instrument of the virtual machine: between two convolutions their weights have left the
near caches, which a kernel called in a loop would hide. The clock's own fraction of a microsecond counts as the gate's.
The bars: 3 % of dense ResNet-18 for either placement, 6 % of dense M-CifarNet.

    python benchmarks/bench_gate_cost.py [--rounds 20] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

import numpy as np
import tvm
from rich.console import Console
from rich.table import Table
from support.gates import random_gates
from support.layers import imported
from support.records import write_record

import espalier
from espalier.core.plan import Plan
from espalier.measure.compare import disturbed, interleave, summarise
from espalier.measure.local import KernelClock
from espalier.measure.threads import set_threads

DENSITY = 0.5
CASES = (("ResNet-18", "sum", 0.03), ("ResNet-18", "inner", 0.03), ("M-CifarNet", "inner", 0.06))
"""Network, placement of the gates, bar."""
GATE = "gate_"
"""How the names of gate kernels begin; those of other kernels begin with their family."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    set_threads(options.threads)
    rows = [measure(*case, options.rounds) for case in CASES]
    Console().print(table(rows))
    write_record("gate_cost", {"threads": options.threads, "density": DENSITY, "cases": rows})


def measure(name: str, placement: str, bar: float, rounds: int) -> dict:
    """Median seconds of the dense network, of the gated one, and of the gates in it."""
    mod, plan = imported(name), Plan(density=DENSITY, placement=placement)
    shape = [int(dim) for dim in mod["main"].params[0].ty.shape]
    x = tvm.runtime.tensor(np.random.default_rng(0).standard_normal(shape, "float32"))
    gated = espalier.build(mod, plan=plan, calibration=random_gates(mod, plan))
    clocked = ClockedGates(gated, x)
    contenders = {
        "dense": partial(espalier.build(mod).program.machine["main"], x),
        "gated": partial(gated.program.machine["main"], x),
        "clocked": clocked.run,
    }
    times = summarise(interleave(contenders, rounds))
    gates_s = statistics.median(sum(run.values()) for run in clocked.runs)
    return {
        "network": name,
        "placement": placement,
        "gates": len(clocked.names),
        "gates_s": gates_s,
        "dense_s": times["dense"].median_s,
        "gated_s": times["gated"].median_s,
        "of_dense": gates_s / times["dense"].median_s,
        "of_gated": gates_s / times["gated"].median_s,
        "bar": bar,
        "by_gate_s": {name: statistics.median(run[name] for run in clocked.runs) for name in clocked.names},
        "disturbed": disturbed(times),
    }


class ClockedGates:
    """Runs of a network that note the seconds of each gate kernel."""

    def __init__(self, artifact: espalier.Artifact, x: tvm.runtime.Tensor):
        self.x, self.runs = x, []
        self.names = [name for name in artifact.program.kernel_layers if name.startswith(GATE)]
        self.clock = KernelClock({name: name for name in self.names})
        self.machine = artifact.program.new_machine()
        self.machine.set_instrument(self.clock)

    def run(self) -> None:
        """One inference."""
        self.clock.reset()
        self.machine["main"](self.x)
        self.runs.append(self.clock.seconds)


def table(rows: list[dict]) -> Table:
    """Microseconds, and shares of the network's time."""
    result = Table(title=f"The gates' own time at d = {DENSITY}")
    for heading in ("network", "gates at"):
        result.add_column(heading)
    for heading in ("number", "us in all", "dense, ms", "gated, ms", "of dense", "bar", "of gated"):
        result.add_column(heading, justify="right")
    for row in rows:
        times = (f"{1e6 * row['gates_s']:.0f}", f"{1e3 * row['dense_s']:.2f}", f"{1e3 * row['gated_s']:.2f}")
        shares = (f"{row[key]:.2%}" for key in ("of_dense", "bar", "of_gated"))
        result.add_row(row["network"], row["placement"], str(row["gates"]), *times, *shares)
    return result


if __name__ == "__main__":
    main()
