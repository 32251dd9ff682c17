"""How small does a network become, in which number format, and what does that cost?

ResNet-20 and M-CifarNet for CIFAR-10, each compiled in every format after training, and every finished training that
lies in benchmarks/checkpoints. For each: top-1 of the compiled program on all 10,000 test images, the size of the
weight container (codes, tables, multipliers, biases, gates) against the same parameters at 32 bits, the machine code
beside it, bit operations, and the latency of one image.

Every row is kept in --folder as soon as it is known, with its program, and is not computed again. Latencies are
measured last, by turns; --latency measures nothing else. The record keeps what it has of rows that are not there.

The bars: a network 34 times smaller or more that loses at most 0.3 points; after training alone, uniform<8> within 0.2
points; focused<5> of ResNet-20 within 0.6 points.

    python benchmarks/bench_compression.py
    python benchmarks/bench_compression.py --networks ResNet-20 --formats float32 bfloat16 --sparsities 0
    python benchmarks/bench_compression.py --latency
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
import tvm
from rich.console import Console
from rich.progress import track
from rich.table import Table
from support import REPOSITORY, checkpoints
from support.cifar10 import load_test, load_train, normalise, top1
from support.networks import cifar_resnet, mcifarnet
from support.records import merged_rows, write_record

import espalier
from espalier.core.files import write_atomically
from espalier.core.formats import bit_operations, parse_format
from espalier.measure.compare import interleave, summarise
from espalier.report.tables import space
from espalier.training import export

NETWORKS = {"ResNet-20": lambda: cifar_resnet(20), "M-CifarNet": mcifarnet}
FORMATS = (
    *(
        "float32",
        "bfloat16",
        "fixed<8,7>",
        "uniform<8>",
        "uniform<6>",
        "uniform<5>",
        "uniform<4>",
        "shift<5>",
        "shift<4>",
    ),
    *("focused<6>", "focused<5>", "focused<4>", "codebook<6>", "codebook<5>", "codebook<4>", "codebook<3>", "binary"),
)
SPARSITIES = (0.0, 0.5)
FOLDER, ROW, PROGRAM = REPOSITORY / "benchmarks" / "out" / "compression", "row.json", "program"
CALIBRATION_IMAGES, BATCH, ROUNDS, SEED = 512, 50, 20, 0
SMALLEST, MOST_LOST = 34.0, 0.3
BARS = (("ResNet-20", "uniform<8>", 0.2), ("M-CifarNet", "uniform<8>", 0.2), ("ResNet-20", "focused<5>", 0.6))
"""Network, format of the weights, points of top-1 that may be lost; uniform<8> without any training."""


@dataclass(frozen=True)
class Contender:
    """A network as it is compiled.

    calibration: None to observe ranges here, if the plan needs them. weights_sha256: of a finished training's file.
    """

    network: str
    trained: str
    plan: espalier.Plan
    model: torch.nn.Module
    calibration: espalier.Calibration | None = None
    weights_sha256: str | None = None

    def module(self, batch: int) -> tvm.IRModule:
        """The network for so many images at once."""
        return espalier.from_torch(self.model, torch.zeros(batch, 3, 32, 32))

    @property
    def slug(self) -> str:
        """A name for a folder."""
        text = f"{self.network} {self.plan.weights} {self.plan.sparsity:g}" if self.trained == "no" else self.network
        return re.sub("[^A-Za-z0-9.]+", "-", text).strip("-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=tuple(NETWORKS))
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--sparsities", nargs="+", type=float, default=SPARSITIES)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where rows and programs are kept")
    parser.add_argument("--latency", action="store_true", help="only of the rows that are there")
    parser.add_argument("--record", default="compression", help="its name; another one for another machine")
    options = parser.parse_args()
    espalier.set_threads(1)
    if not options.latency:
        images, labels = load_test()
        test = normalise(images), labels
        contenders = [*after_training(options.networks, options.formats, options.sparsities), *finished()]
        for one in track(contenders, "compiling and classifying"):
            kept(one, test, options.folder)
    rows = sorted(merged_rows(options.record, timed(options.folder), ("network", "trained", "plan")), key=_order)
    Console(width=160).print(table(rows), verdict(rows))
    write_record(options.record, rows)


def kept(one: Contender, test, folder: Path) -> None:
    """Compute a row, unless it is there, of the same weights."""
    path = folder / one.slug / ROW
    if path.exists() and json.loads(path.read_text()).get("weights_sha256") == one.weights_sha256:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    row = measure(one, test, path.parent / PROGRAM)
    write_atomically(path, json.dumps(row).encode())


def timed(folder: Path) -> list[dict]:
    """The rows of a folder with the latencies of their programs, by turns within each network."""
    rows = {path.parent: json.loads(path.read_text()) for path in sorted(folder.glob(f"*/{ROW}"))}
    image = tvm.runtime.tensor(np.zeros((1, 3, 32, 32), "float32"))
    for network in NETWORKS:
        runs = {}
        for path in [path for path, row in rows.items() if is_of(row, network) and "refused" not in row]:
            program = espalier.load(path / PROGRAM).program
            runs[path] = partial(program.machine["main"], image, *program.parameter_tensors)
        for path, timing in summarise(interleave(runs, ROUNDS) if runs else {}).items():
            rows[path] |= {"latency_s": timing.median_s, "quartiles_s": [timing.quartile1_s, timing.quartile3_s]}
    return list(rows.values())


def _order(row: dict) -> tuple:
    weights = row["plan"]["default"].get("weights", "float32")
    place = FORMATS.index(weights) if weights in FORMATS else len(FORMATS)
    return [is_of(row, one) for one in NETWORKS][::-1], row["trained"], place, row["plan"]["default"].get("sparsity", 0)


def after_training(networks, formats, sparsities: Sequence[float]) -> Iterator[Contender]:
    """Every format for every network, dense and with the smallest weights pruned."""
    for sparsity in sparsities:
        for network in networks:
            for weights in formats:
                if not sparsity or parse_format(weights).has_zero:
                    plan = espalier.Plan(weights=weights, sparsity=sparsity)
                    yield Contender(network, "no", plan, model_of(network))


@cache
def model_of(network: str) -> torch.nn.Module:
    """A network with its published weights."""
    return NETWORKS[network]()


def finished() -> Iterator[Contender]:
    """Networks of `NETWORKS` that were trained with gates or quantizers."""
    for path in sorted(checkpoints.FOLDER.glob("*.pt")):
        one = checkpoints.finished(path)
        is_changed = one.recipe.is_gated or one.recipe.is_quantized
        if not (is_changed and any(is_of({"network": one.name}, network) for network in NETWORKS)):
            continue
        _, plan, calibration = export(one.model, torch.zeros(1, 3, 32, 32))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        yield Contender(one.name, "yes", plan, one.model, calibration, digest)


def measure(one: Contender, test, program: Path) -> dict:
    """One row of the table, without its latency; a network that the compiler refuses has the reason instead."""
    try:
        single, many = compiled(one, 1), compiled(one, BATCH)
    except espalier.EspalierError as error:
        return {**named(one), "refused": str(error)}
    single.save(program)
    size = single.program.sizes()
    return {
        **named(one),
        "sparsity": sum(layer.zeros for layer in size.layers) / sum(layer.parameters for layer in size.layers),
        "top1": top1(many, *test, BATCH),
        "container_bytes": size.container_bytes,
        "dense_bytes": size.dense_bytes,
        "ratio": size.ratio,
        "code_bytes": size.code_bytes,
        "by_cause": {
            cause: sum(getattr(layer, cause) for layer in size.layers)
            for cause in ("by_pruning", "by_format", "by_coding")
        },
        "bit_operations": operations(single),
    }


def named(one: Contender) -> dict:
    """What a row is about."""
    about = {"network": one.network, "trained": one.trained, "plan": one.plan.to_dict()}
    return about | {"weights_sha256": one.weights_sha256}


def compiled(one: Contender, batch: int) -> espalier.Artifact:
    """The artifact, with its weights compressed."""
    if one.calibration is not None:  # trained: the module that belongs to it comes from its export
        mod, plan, calibration = export(one.model, torch.zeros(batch, 3, 32, 32))
        return espalier.build(mod, plan=plan, calibration=calibration, compress=True)
    calibration = None
    if parse_format(one.plan.weights).is_quantized:
        calibration = ranges_of(one.network, one.plan.sparsity)
    return espalier.build(one.module(batch), plan=one.plan, calibration=calibration, compress=True)


@cache
def ranges_of(network: str, sparsity: float) -> espalier.Calibration:
    """The ranges of the activations, which are the same for all formats of the weights."""
    mod = espalier.from_torch(model_of(network), torch.zeros(BATCH, 3, 32, 32))
    return espalier.calibrate(mod, calibration_images(), espalier.Plan(weights="uniform<8>", sparsity=sparsity))


def calibration_images() -> np.ndarray:
    """Training images, float32 [500 or so, 3, 32, 32], a multiple of the batch."""
    images, _ = load_train()
    count = CALIBRATION_IMAGES // BATCH * BATCH
    return normalise(images[np.random.default_rng(SEED).permutation(len(images))[:count]])


def operations(artifact) -> int:
    """Single-bit operations of the products of one image, see `bit_operations`."""
    planned = [(layer.macs, artifact.plan.layer(layer.name)) for layer in artifact.layers]
    return sum(
        bit_operations(parse_format(plan.weights), parse_format(plan.activations).bits, macs) for macs, plan in planned
    )


def table(rows: list[dict]) -> Table:
    """All rows; lost: points of top-1 against the same network in float32."""
    result = Table(title="CIFAR-10, one thread, batch 1")
    names = (
        "network",
        "trained",
        "weights",
        "zeros",
        "top-1",
        "lost",
        "container",
        "ratio",
        "code",
        "bit operations",
        "ms",
    )
    for name in names:
        result.add_column(name, justify="left" if name in names[:3] else "right")
    for row in rows:
        about = (row["network"], row["trained"], row["plan"]["default"]["weights"])
        if "refused" in row:
            result.add_row(*about, row["refused"])
            continue
        result.add_row(
            *about,
            f"{100 * row['sparsity']:.0f} %",
            f"{row['top1']:.2f}",
            f"{lost(row, rows):+.2f}",
            space(row["container_bytes"]),
            f"{row['ratio']:.1f}",
            space(row["code_bytes"]),
            f"{row['bit_operations'] / 1e9:.2f} G",
            f"{1e3 * row['latency_s']:.3f}",
        )
    return result


def lost(row: dict, rows: list[dict]) -> float:
    """Points of top-1 below the network as it was, in float32 and dense; NaN if it is not among the rows."""
    known = {one["network"]: one["top1"] for one in rows if one["plan"] == espalier.Plan().to_dict()}
    base = next((top for name, top in known.items() if is_of(row, name)), np.nan)
    return base - row["top1"]


def is_of(row: dict, network: str) -> bool:
    """Whether a row is of this network; finished trainings are called such as "resnet20-inner"."""
    return row["network"].lower().replace("-", "").startswith(network.lower().replace("-", ""))


def verdict(rows: list[dict]) -> str:
    """Which bars are met."""
    rows = [row for row in rows if "refused" not in row]
    small = [row for row in rows if row["ratio"] >= SMALLEST and lost(row, rows) <= MOST_LOST]
    best = max(small, key=lambda row: row["ratio"], default=None)
    lines = [
        f"{SMALLEST:g} times smaller with at most {MOST_LOST} points lost: "
        + (f"{best['network']}, {best['ratio']:.1f} times" if best else "none")
    ]
    for network, weights, bar in BARS:
        losses = [
            lost(row, rows)
            for row in rows
            if is_of(row, network) and row["plan"]["default"]["weights"] == weights
            if weights != "uniform<8>" or row["trained"] == "no"
        ]
        lines.append(f"{network} {weights}: " + (f"{min(losses):+.2f} lost, bar {bar}" if losses else "not measured"))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
