"""How close do single convolutions come to what the machine can do?

Every distinct convolution of seven networks, batch 1, with the activation, bias and residual that are fused to it,
dense and at density 0.5 on both sides (first layers stay dense on their input, depthwise layers compute the winners
of their input's gate; the lists change from call to call). Every family that can compute a layer is timed, by turns
with a loop of multiply-adds in registers, which is the peak, and for depthwise layers with a copy of as many bytes.
The bar, dense, one thread: 3x3 and 1x1 layers at stride 1 reach 0.92 of the peak in the geometric mean, with the best
kernel that does every multiply-add.

A layer runs again and again on the same tensors, so its weights are warm; where a network's weights do not stay in the
caches, the compiler counts on cold ones and may rightly take another family than the fastest one here.

With --int8 the same layers on bytes, against a loop of products of bytes: GFLOP/s are then 10^9 operations per second,
and the networks are ResNet-18 and MobileNet-V1 unless others are named.

    python benchmarks/bench_kernels.py [--int8] [--threads 1] [--rounds 7] [--networks ResNet-18 ...]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from statistics import geometric_mean

from rich.console import Console
from rich.progress import track
from rich.table import Table
from support.kernels import at_density, in_int8, runner
from support.layers import NAMES, Layer, distinct_layers, imported, layer_work, work_of
from support.probes import Probe, copy_probe, peak_probe, peak_probe_int8
from support.records import write_record

from espalier.build import prepare
from espalier.codegen.cpu.select import candidates
from espalier.measure.compare import disturbed, interleave, summarise
from espalier.measure.threads import set_threads
from espalier.targets.cpu import isa_of
from espalier.targets.resolve import resolve_target

QUANTIZED = ("ResNet-18", "MobileNet-V1")
DENSITY = 0.5
BAR, BARRED, LOW = 0.92, ("3x3", "1x1"), 0.85
RULE_BAR = 0.97
"""The selection is listed as wrong where its kernel has less than this share of the best kernel's speed."""
SAMPLE_S = 0.003
STREAMS = {"L2": 1 << 19, "L3": 1 << 23, "memory": 1 << 28}
"""Bytes that are copied, half of them read, to measure the bandwidth of each level."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--networks", nargs="+", choices=NAMES)
    parser.add_argument("--int8", action="store_true", help="layers on bytes")
    options = parser.parse_args()
    set_threads(options.threads)
    bench, console = KernelBench(options.threads, options.rounds, options.int8), Console()
    roofs, every = bench.roofs(), QUANTIZED if options.int8 else NAMES
    modules = {name: prepare(imported(name)) for name in options.networks or every}
    layers = [bench.measure(layer) for layer in track(distinct_layers(modules), "layers", transient=True)]
    means = class_means(layers)
    for table in (layer_table(layers), mean_table(means, roofs), *miss_tables(layers)):
        console.print(table)
    if set(modules) == set(every):
        record = "kernels_int8" if options.int8 else "kernels"
        record += "" if options.threads == 1 else f"_{options.threads}_threads"
        networks = {name: dataclasses.asdict(work_of(mod)) for name, mod in modules.items()}
        results = {"roofs": roofs, "means": means, "networks": networks, "layers": layers}
        write_record(record, {"threads": options.threads, **results})


class KernelBench:
    """Measures on this machine, with `threads` threads, layers of floats or of bytes."""

    def __init__(self, threads: int, rounds: int, int8: bool = False):
        self.target = resolve_target("llvm")
        self.isa, self.threads, self.rounds, self.int8 = isa_of(self.target), threads, rounds, int8
        self.peak = (peak_probe_int8 if int8 else peak_probe)(self.isa, self.target, threads)

    def roofs(self) -> dict[str, float]:
        """FLOP/s of the multiply-adds and bytes/s of copies at each level."""
        probes = {f"{level}_bytes_per_s": self.copy(size // 2, size // 2) for level, size in STREAMS.items()}
        probes["peak_flops"] = self.peak
        times = self.times({name: probe.run for name, probe in probes.items()})
        return {name: probe.work / times[name].median_s for name, probe in probes.items()}

    def measure(self, layer: Layer) -> dict:
        """Times of every family, dense and gated, with their shares of what bounds them."""
        one = layer.problem
        gated = at_density(one, DENSITY, x_is_gated=not layer.is_first)
        if self.int8:
            one, gated = in_int8(one, self.isa), in_int8(gated, self.isa)
        probes, size = {"peak": self.peak}, 1 if self.int8 else 4
        if one.is_depthwise:
            probes["copy"] = self.copy(size * math.prod(one.x_shape), size * math.prod(one.out_shape))
        families = {"dense": self.families(one), "gated": self.families(gated)}
        runs = {(kind, name): run for kind, found in families.items() for name, run in found.items()}
        runs |= {("probe", name): probe.run for name, probe in probes.items()}
        times = self.times(runs)
        peak = self.peak.work / times["probe", "peak"].median_s
        row = {
            "layer": layer.name,
            "class": layer.kind,
            "uses": dict(layer.uses),
            **dataclasses.asdict(layer_work(one.x_shape, one.weight_shape, one.out_shape)),
            "peak_flops": peak,
            "dense": speeds({name: times["dense", name].median_s for name in families["dense"]}, one.macs, peak),
            "gated": speeds({name: times["gated", name].median_s for name in families["gated"]}, gated.macs, peak),
            "disturbed": [" ".join(name) for name in disturbed(times)],
        }
        if "copy" in probes:
            row["share_of_copy"] = times["probe", "copy"].median_s / row["dense"]["latency_s"]
        return row

    def families(self, one) -> dict:
        """Calls of the kernel of each family, the one that the compiler would take first."""
        return {family.name: runner(one, family, self.target) for family in candidates(one, self.isa)}

    def copy(self, read_bytes: int, written_bytes: int) -> Probe:
        """A copy on as many threads as everything else."""
        return copy_probe(self.isa, self.target, read_bytes, written_bytes, self.threads)

    def times(self, runs: dict) -> dict:
        """Timings by turns."""
        settle_s = 0.0 if self.threads == 1 else SAMPLE_S
        return summarise(interleave(runs, self.rounds, SAMPLE_S, settle_s))


def speeds(seconds: dict[str, float], macs: int, peak: float) -> dict:
    """The chosen family (the first), the best one, and the best of those that do every multiply-add.

    gflops and share count the multiply-adds of the direct method, so that Winograd's share can exceed 1.
    """
    chosen, best = next(iter(seconds)), min(seconds, key=seconds.get)
    direct = min((name for name in seconds if not name.startswith("winograd")), key=seconds.get)
    return {
        "family": chosen,
        "latency_s": seconds[chosen],
        "gflops": 2 * macs / seconds[chosen] / 1e9,
        "share": 2 * macs / seconds[chosen] / peak,
        "best_direct": direct,
        "direct_share": 2 * macs / seconds[direct] / peak,
        "of_best": seconds[best] / seconds[chosen],
        "best": best,
        "seconds": seconds,
    }


def class_means(rows: list[dict]) -> list[dict]:
    """Geometric means of the shares, by class of layer."""
    return [
        {
            "class": kind,
            "layers": len(found),
            "share": geometric_mean(row["dense"]["direct_share"] for row in found),
            "chosen_share": geometric_mean(row["dense"]["share"] for row in found),
            "gated_share": geometric_mean(row["gated"]["share"] for row in found),
            "share_of_copy": geometric_mean(row["share_of_copy"] for row in found) if kind == "depthwise" else None,
            "share_of_bound": geometric_mean(nearest_bound(row)[1] for row in found),
        }
        for kind in dict.fromkeys(row["class"] for row in rows)
        for found in [[row for row in rows if row["class"] == kind]]
    ]


def layer_table(rows: list[dict]) -> Table:
    """The chosen family's GFLOP/s, the best direct one's share, and how fast the chosen one is against the best."""
    table = Table(title=f"Batch 1: GFLOP/s and share of the peak measured beside it; d = {DENSITY} of its own MACs")
    for heading in ("layer", "networks", "class"):
        table.add_column(heading)
    for heading in ("MMAC", "family", "GFLOP/s", "direct", "bound", "of best", "d: share"):
        table.add_column(heading, justify="right")
    for row in rows:
        dense, gated = row["dense"], row["gated"]
        limit, reached = nearest_bound(row)
        speed = (dense["family"], f"{dense['gflops']:.0f}", f"{dense['direct_share']:.2f}", f"{limit} {reached:.2f}")
        rest = (f"{dense['of_best']:.2f}", f"{gated['share']:.2f} {gated['family'][:5]} {gated['of_best']:.2f}")
        networks = ", ".join(short(name) for name in row["uses"])
        table.add_row(row["layer"], networks, row["class"], f"{row['macs'] / 1e6:.1f}", *speed, *rest)
    return table


def nearest_bound(row: dict) -> tuple[str, float]:
    """The limit that a dense layer comes nearest to, and the share of it that is reached."""
    copy, peak = row.get("share_of_copy", 0.0), row["dense"]["direct_share"]
    return ("copy", copy) if copy > peak else ("FMA", peak)


def short(network: str) -> str:
    """A network's name for a narrow column."""
    return network.replace("ResNet-", "R").replace("MobileNet-", "Mb").replace("M-CifarNet", "MC").replace("-16", "")


def mean_table(means: list[dict], roofs: dict[str, float]) -> Table:
    table = Table(title=f"Geometric means of the shares (bar {BAR} for {' and '.join(BARRED)}, dense)")
    for heading in ("class", "layers", "best direct", "chosen", f"d = {DENSITY}", "of a copy", "of nearer bound"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for row in means:
        shares = (f"{row[key]:.3f}" if row[key] else "" for key in ("share", "chosen_share", "gated_share"))
        copy = f"{row['share_of_copy']:.3f}" if row["share_of_copy"] else ""
        table.add_row(row["class"], str(row["layers"]), *shares, copy, f"{row['share_of_bound']:.3f}")
    table.caption = ", ".join(f"{name.split('_')[0]} {value / 1e9:.0f} G/s" for name, value in roofs.items())
    return table


def miss_tables(rows: list[dict]) -> list[Table]:
    """Layers far from the peak, and those where another family is faster than the chosen one."""
    slow = Table(title=f"Below {LOW} of the peak, dense ({', '.join(BARRED)})")
    wrong = Table(title=f"Chosen family below {RULE_BAR} of the best one's speed")
    for heading in ("layer", "networks", "share"):
        slow.add_column(heading)
    for heading in ("layer", "networks", "at", "chosen", "best", "of best"):
        wrong.add_column(heading)
    for row in rows:
        networks = ", ".join(row["uses"])
        if row["class"] in BARRED and row["dense"]["direct_share"] < LOW:
            slow.add_row(row["layer"], networks, f"{row['dense']['direct_share']:.2f}")
        for kind in ("dense", "gated"):
            one = row[kind]
            if one["of_best"] < RULE_BAR:
                wrong.add_row(row["layer"], networks, kind, one["family"], one["best"], f"{one['of_best']:.2f}")
    return [slow, wrong]


if __name__ == "__main__":
    main()
