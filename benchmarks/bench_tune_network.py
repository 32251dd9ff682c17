"""Is a whole network tuned within a minute, and what does it gain?

ResNet-18 at batch 1 in float32, tuned without records, from the package's cost model, on two threads until the budget
is spent or little is left to gain; the bar is 60 seconds, reading the network's tasks included. Then the programs of
the rule and of the records run by turns.

    python benchmarks/bench_tune_network.py [--network ResNet-18] [--threads 2] [--budget 50s] [--model pretrained]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from support.layers import imported
from support.records import write_record

import espalier
from espalier.measure.local import profile
from espalier.tuning.cost_model.choose import PRETRAINED
from espalier.tuning.tune import TuningOptions, tune

BAR_S, ROUNDS, REPEATS = 60.0, 7, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="ResNet-18")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--budget", default="50s")
    parser.add_argument("--model", default=PRETRAINED)
    options = parser.parse_args()
    mod, target = imported(options.network), {"kind": "llvm", "num-cores": options.threads}
    espalier.set_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "records.db"
        started = time.monotonic()
        how = TuningOptions(model=options.model)
        result = tune(mod, target, records=records, budget=options.budget, options=how)
        seconds = time.monotonic() - started
        programs = {"rule": espalier.build(mod, target), "tuned": espalier.build(mod, target, records=records)}
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), "float32")
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, program in programs.items():
            times[name].append(profile(program, x, repeats=REPEATS).latency_s)
    found = {
        "network": options.network,
        "threads": options.threads,
        "model": options.model,
        "tuning_s": seconds,
        "bar_s": BAR_S,
        "trials": result.trials,
        "tasks": len(result.tasks),
        "end": result.end,
        "convolutions_rule_s": result.rule_s,
        "convolutions_tuned_s": result.best_s,
        **{f"network_{name}_s": median(one) for name, one in times.items()},
    }
    print(found)
    write_record("tune_network", found)


if __name__ == "__main__":
    main()
