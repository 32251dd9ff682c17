"""Does skipping channels save the time that it saves in multiply-accumulates?

Two tables. Single convolutions over 10 million MACs with density d on both sides, against the best dense
kernel we have: the bar is 0.9 of 1/d^2. Whole ResNet-18 at 224x224, batch 1, d = 0.5, for each placement of the
gates, gates included, against our dense build: the bar is 0.85 of the MAC ratio.

Both once with direct sums on both sides, which is what the bars are about, and once with Winograd allowed on both
sides: it makes the dense kernels faster than the gated ones, because transforms shrink with d, not with d^2.

Which channels are active differs from run to run (lists are drawn anew for each sample of the clock); weights
and gates are random, which changes no shape and no instruction.

    python benchmarks/bench_density.py [--rounds 15] [--threads 1]
"""

from __future__ import annotations

import argparse

import numpy as np
import tvm
from rich.console import Console
from rich.table import Table
from support.gates import random_gates
from support.kernels import at_density, problem, runner
from support.networks import resnet18
from support.records import write_record

import espalier
from espalier.codegen.cpu.select import candidates
from espalier.core.plan import Plan
from espalier.measure.compare import interleave, summarise
from espalier.measure.threads import set_threads
from espalier.targets.cpu import isa_of
from espalier.targets.resolve import resolve_target

DENSITIES = (0.75, 0.5, 0.25)
PLACEMENTS = ("inner", "branch", "sum")
LAYERS = (  # network, C_in, C_out, size of the square image, kernel, stride
    ("ResNet-18", 64, 64, 56, 3, 1),
    ("ResNet-18", 64, 128, 56, 3, 2),
    ("ResNet-18", 128, 128, 28, 3, 1),
    ("ResNet-18", 128, 256, 28, 3, 2),
    ("ResNet-18", 256, 256, 14, 3, 1),
    ("ResNet-18", 256, 512, 14, 3, 2),
    ("ResNet-18", 512, 512, 7, 3, 1),
    ("ResNet-50", 64, 256, 56, 1, 1),
    ("ResNet-50", 512, 128, 28, 1, 1),
    ("ResNet-50", 256, 1024, 14, 1, 1),
    ("ResNet-50", 2048, 512, 7, 1, 1),
    ("M-CifarNet", 64, 64, 30, 3, 1),
    ("M-CifarNet", 128, 128, 15, 3, 1),
    ("M-CifarNet", 192, 192, 8, 3, 1),
)
LAYER_BAR, NETWORK_BAR = 0.9, 0.85


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    set_threads(options.threads)
    target, console = resolve_target("llvm"), Console()
    layers = [measure_layer(*layer, False, target, options.rounds) for layer in LAYERS]
    layers += [measure_layer(*layer, True, target, options.rounds) for layer in LAYERS if layer[-2:] == (3, 1)]
    console.print(layer_table(layers))
    networks = [*measure_resnet18(options.rounds, False), *measure_resnet18(options.rounds, True)]
    console.print(network_table(networks))
    write_record("density", {"threads": options.threads, "layers": layers, "resnet18": networks})


def measure_layer(network, c_in, c_out, size, kernel, stride, winograd: bool, target, rounds: int) -> dict:
    """Median seconds of the dense kernels and of the gated one at each density."""
    isa = isa_of(target)
    dense_problem = problem(c_in, c_out, size, kernel, stride, winograd)
    problems = {1.0: dense_problem, **{density: at_density(dense_problem, density) for density in DENSITIES}}
    contenders = {
        f"dense {family.name}": runner(problems[1.0], family, target) for family in candidates(problems[1.0], isa)
    }
    contenders |= {str(d): runner(problems[d], candidates(problems[d], isa)[0], target) for d in DENSITIES}
    times = {name: timing.median_s for name, timing in summarise(interleave(contenders, rounds)).items()}
    dense = min(seconds for name, seconds in times.items() if name.startswith("dense"))
    return {
        "layer": f"{network} {c_in}-{c_out} {size}x{size} {kernel}x{kernel}/{stride}",
        "winograd": winograd,
        "macs": problems[1.0].macs,
        "dense_s": dense,
        "dense_gflops": 2 * problems[1.0].macs / dense / 1e9,
        "densities": [
            {
                "density": d,
                "latency_s": times[str(d)],
                "speed_up": dense / times[str(d)],
                "of_ideal": dense / times[str(d)] * problems[d].macs / problems[1.0].macs,
            }
            for d in DENSITIES
        ],
    }


def measure_resnet18(rounds: int, winograd: bool) -> list[dict]:
    """Median seconds of whole networks, dense and gated at each placement."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 3, 224, 224), "float32")
    mod = espalier.from_torch(resnet18(), x)
    artifacts = {"dense": espalier.build(mod, plan=Plan(winograd=winograd))}
    for placement in PLACEMENTS:
        plan = Plan(density=0.5, placement=placement, winograd=winograd)
        artifacts[placement] = espalier.build(mod, plan=plan, calibration=random_gates(mod, plan))
    feed = tvm.runtime.tensor(x)
    contenders = {name: (lambda run=a.program.machine["main"]: run(feed)) for name, a in artifacts.items()}
    times = summarise(interleave(contenders, rounds))
    dense_macs = sum(layer.macs for layer in artifacts["dense"].layers)
    rows = []
    for name, artifact in artifacts.items():
        macs = sum(layer.macs for layer in artifact.layers)
        speed_up = times["dense"].median_s / times[name].median_s
        rows.append(
            {
                "placement": name,
                "winograd": winograd,
                "macs": macs,
                "mac_ratio": dense_macs / macs,
                "latency_s": times[name].median_s,
                "quartiles_s": [times[name].quartile1_s, times[name].quartile3_s],
                "speed_up": speed_up,
                "of_mac_ratio": speed_up * macs / dense_macs,
            }
        )
    return rows


def layer_table(rows: list[dict]) -> Table:
    table = Table(title=f"One layer, density d on both sides: speed-up (share of 1/d^2; bar {LAYER_BAR})")
    for heading in ("layer", "sums", "MMAC", "dense GFLOP/s", *(f"d = {d}" for d in DENSITIES)):
        table.add_column(heading, justify="left" if heading == "layer" else "right", no_wrap=True)
    for row in rows:
        cells = [f"{one['speed_up']:.2f} ({one['of_ideal']:.2f})" for one in row["densities"]]
        sums = "Winograd" if row["winograd"] else "direct"
        table.add_row(row["layer"], sums, f"{row['macs'] / 1e6:.0f}", f"{row['dense_gflops']:.0f}", *cells)
    return table


def network_table(rows: list[dict]) -> Table:
    table = Table(title=f"ResNet-18, d = 0.5, gates included (bar {NETWORK_BAR})")
    for heading in ("gates", "sums", "MMAC", "ms", "MAC ratio", "speed-up", "share"):
        table.add_column(heading, justify="left" if heading == "gates" else "right")
    for row in rows:
        numbers = (f"{row['mac_ratio']:.2f}", f"{row['speed_up']:.2f}", f"{row['of_mac_ratio']:.2f}")
        sums = "Winograd" if row["winograd"] else "direct"
        latency = f"{row['latency_s'] * 1e3:.2f}"
        table.add_row(row["placement"], sums, f"{row['macs'] / 1e6:.0f}", latency, *numbers)
    return table


if __name__ == "__main__":
    main()
