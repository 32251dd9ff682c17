"""How fast are quantized networks, compared with the libraries that people use?

ONNX Runtime quantizes a network (QDQ form: uint8 activations, int8 weights per channel). That one file runs in
Espalier, ONNX Runtime and OpenVINO, on the same threads, by turns in one process, batch 1. The bar: at most 1.1 times
the best peer's time. Beside it the network as Espalier quantizes it itself (uniform<8>), and that with gates at d = 0.5
with random predictors, against the best peer's dense time: at least 2 times faster. Inputs, weights and the images that
ranges are observed on are random.

Networks can be measured in several runs: the record keeps what it has of the others. A processor with AMX has a record
of its own, since its kernels are others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tvm
from rich.console import Console
from rich.table import Table
from torch import nn

import espalier
from espalier.core.plan import Plan
from espalier.measure.compare import calm_timings, disturbed
from espalier.measure.peers import open_peer
from espalier.measure.threads import set_threads

from .gates import random_gates
from .imagenet import network
from .onnx_files import INPUT, export, quantize
from .records import machine, merged_rows, write_record

QUANTIZED = ("ResNet-18", "MobileNet-V1")
PEERS = ("onnxruntime", "openvino")
PLACEMENTS = {"ResNet-18": "sum", "ResNet-50": "sum", "MobileNet-V2": "sum"}
"""Of gates; "inner" for networks without sums."""
BAR, GATED_BAR = 1.1, 2.0
IMAGES = 16
KEYS = "network", "threads"


def run(networks: Sequence[str] | None, threads: Sequence[int], rounds: int) -> None:
    """Measure, print, and add to the record. networks: None for those with a bar."""
    rows = []
    for count in threads:
        set_threads(count)
        torch.set_num_threads(count)
        for name in networks or QUANTIZED:
            rows.append(measure(name, count, rounds))
            Console().print(table(rows[-1:]))
    record = "models_int8_amx" if "amx_int8" in machine()["flags"] else "models_int8"
    rows = merged_rows(record, rows, KEYS)
    Console().print(table(rows))
    write_record(record, rows)


def measure(name: str, threads: int, rounds: int) -> dict:
    """Median seconds of each contender on one network."""
    images = np.random.default_rng(0).standard_normal((IMAGES, 3, 224, 224), "float32")
    with tempfile.TemporaryDirectory() as folder:
        path = export(settled(network(name)), images[:1], Path(folder) / "float32.onnx")
        contenders = peers(quantize(path, images[:, None], Path(folder) / "int8.onnx"), images[:1], threads)
        contenders |= ours(name, path, Path(folder) / "int8.onnx", images)
        theirs, ours_too = contenders["onnxruntime"]()[0], contenders["espalier"]().numpy()
        timings = calm_timings(contenders, rounds, settle_s=0.05 if threads > 1 else 0.0)
    best = min(PEERS, key=lambda label: timings[label].median_s)
    return {
        "network": name,
        "threads": threads,
        "best_peer": best,
        "latency_s": {label: timing.median_s for label, timing in timings.items()},
        "quartiles_s": {label: [timing.quartile1_s, timing.quartile3_s] for label, timing in timings.items()},
        "ratio": timings["espalier"].median_s / timings[best].median_s,
        "gated_speed_up": timings[best].median_s / timings["espalier d=0.5"].median_s,
        "difference_to_onnxruntime": float(np.abs(ours_too - theirs).max() / np.abs(theirs).max()),
        "disturbed": disturbed(timings),
    }


def settled(module: nn.Module) -> nn.Module:
    """The network with the batch-norm statistics that random images cause, in evaluation mode."""
    for norm in module.train().modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # the plain average over the batches seen
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for _ in range(2):
            module(torch.randn(8, 3, 128, 128))
    return module.eval()


def peers(path: Path, x: np.ndarray, threads: int) -> dict[str, Callable[[], object]]:
    """Calls without arguments that run the quantized file once, by the peer's name."""
    return {one: partial(open_peer(one, path, {INPUT: x.shape}, threads).run, {INPUT: x}) for one in PEERS}


def ours(name: str, real: Path, quantized: Path, images: np.ndarray) -> dict[str, Callable[[], object]]:
    """The same of Espalier: the quantized file, and the float32 one quantized here, dense and with gates."""
    artifacts, mod = {"espalier": espalier.build(espalier.from_onnx(quantized))}, espalier.from_onnx(real)
    plain = Plan(weights="uniform<8>", activations="uniform<8>")
    gated = Plan(0.5, placement=PLACEMENTS.get(name, "inner"), weights="uniform<8>", activations="uniform<8>")
    for label, plan in {"espalier own": plain, "espalier d=0.5": gated}.items():
        ranges = espalier.calibrate(mod, images, plan, gates_from=random_gates(mod, plan))
        artifacts[label] = espalier.build(mod, plan=plan, calibration=ranges)
    x = tvm.runtime.tensor(images[:1])
    return {label: partial(artifact.program.machine["main"], x) for label, artifact in artifacts.items()}


def table(rows: list[dict]) -> Table:
    """Milliseconds by contender, and our ratio to the best peer."""
    labels = (*PEERS, "espalier", "espalier own", "espalier d=0.5")
    result = Table(title=f"Batch 1, int8, median ms (bar: {BAR} of the best peer; gated: {GATED_BAR}x faster)")
    for heading in ("network", "threads", *labels, "ratio", "d = 0.5 against best", "difference"):
        result.add_column(heading, justify="left" if heading == "network" else "right")
    for row in rows:
        times = [f"{1e3 * row['latency_s'][one]:.2f}" for one in labels]
        ratios = (f"{row['ratio']:.3f}", f"{row['gated_speed_up']:.2f}x", f"{row['difference_to_onnxruntime']:.1e}")
        result.add_row(row["network"], str(row["threads"]), *times, *ratios)
    return result
