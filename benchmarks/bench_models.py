"""How fast are whole dense networks, compared with the libraries that people use?

The same ONNX file in Espalier, ONNX Runtime, OpenVINO (float32) and torch.compile, the same threads, by turns in one
process, batch 1. The bar for each network: at most 1.03 times the best float32 peer; geometric mean below 1. Beside
it, what the same network takes where Winograd is refused: direct sums, as the peers compute them; and the largest
difference that Winograd makes, of the largest output.
ResNet-18 in bfloat16 takes part too, against OpenVINO's bfloat16: at most 1.1 times its time (one thread).
Then ResNet-18 with gated sums and M-CifarNet, both at d = 0.5 with random gates, against the best peer's dense time:
at least 3 times faster.

Builds are timed as well (bar: 20 s for ResNet-18): without the cache on disk, with an empty one, with what that build
left there. A network is measured again, at most twice, if something disturbed the machine meanwhile.

With --int8 quantized networks instead, see `support.models_int8`.

    python benchmarks/bench_models.py [--threads 1 2] [--rounds 20] [--networks ResNet-18 ...] [--int8]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import geometric_mean

import numpy as np
import torch
import tvm
from rich.console import Console
from rich.table import Table
from support import models_int8
from support.gates import random_gates
from support.imagenet import NETWORKS, network
from support.onnx_files import INPUT, export
from support.records import write_record

import espalier
from espalier.core.cache_folder import OFF, VARIABLE
from espalier.core.plan import Plan
from espalier.frontend.bundled import model_path
from espalier.measure.compare import calm_timings, disturbed
from espalier.measure.peers import open_peer
from espalier.measure.threads import set_threads

PEERS = ("onnxruntime", "openvino")
ALL = (*NETWORKS, "M-CifarNet")
GATED = {"ResNet-18": "sum", "M-CifarNet": "inner"}
BFLOAT16 = ("ResNet-18",)
BAR, BFLOAT16_BAR, GATED_BAR = 1.03, 1.1, 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--networks", nargs="+", choices=ALL)
    parser.add_argument("--int8", action="store_true", help="quantized networks")
    options = parser.parse_args()
    os.environ[VARIABLE] = OFF
    if options.int8:
        models_int8.run(options.networks, options.threads, options.rounds)
        return
    rows, networks = [], options.networks or ALL
    for threads in options.threads:
        set_threads(threads)
        torch.set_num_threads(threads)
        for name in networks:
            rows.append(measure(name, threads, options.rounds))
            Console().print(table(rows[-1:]))
    Console().print(table(rows))
    if set(networks) == set(ALL):
        write_record("models", rows)


def measure(name: str, threads: int, rounds: int) -> dict:
    """Median seconds of each contender on one network."""
    with tempfile.TemporaryDirectory() as folder:
        builds = build_seconds(name, Path(folder)) if threads == 1 else None
        contenders = contenders_for(name, Path(folder), threads)
        direct, fast = (contenders[one]().numpy() for one in ("espalier direct", "espalier"))
        timings = calm_timings(contenders, rounds, settle_s=0.05 if threads > 1 else 0.0)
    peers = [label for label in timings if label in (*PEERS, "torch.compile")]
    best = min(peers, key=lambda label: timings[label].median_s)
    gated, ours_bfloat16 = timings.get("espalier d=0.5"), timings.get("espalier bfloat16")
    return {
        "network": name,
        "threads": threads,
        "best_peer": best,
        "latency_s": {label: timing.median_s for label, timing in timings.items()},
        "quartiles_s": {label: [timing.quartile1_s, timing.quartile3_s] for label, timing in timings.items()},
        "ratio": timings["espalier"].median_s / timings[best].median_s,
        "direct_ratio": timings["espalier direct"].median_s / timings[best].median_s,
        "bfloat16_ratio": ours_bfloat16 and ours_bfloat16.median_s / timings["openvino bfloat16"].median_s,
        "winograd_difference": float(np.abs(fast - direct).max() / np.abs(direct).max()),
        "gated_speed_up": gated and timings[best].median_s / gated.median_s,
        "build_s": builds,
        "disturbed": disturbed(timings),
    }


def build_seconds(name: str, folder: Path) -> dict[str, float]:
    """How long the dense network takes to build, by the state of the cache."""
    mod, seconds = espalier.from_onnx(model_of(name, folder)), {}
    for state, cache in (("no_cache", OFF), ("empty_cache", folder / "cache"), ("full_cache", folder / "cache")):
        os.environ[VARIABLE] = str(cache)
        start = time.perf_counter()
        espalier.build(mod)
        seconds[state] = time.perf_counter() - start
    os.environ[VARIABLE] = OFF
    return seconds


def contenders_for(name: str, folder: Path, threads: int) -> dict[str, Callable[[], object]]:
    """Calls without arguments that run the network once, by the contender's name."""
    x, path = example(name), model_of(name, folder)
    shapes = {INPUT: x.shape}
    runs = {peer: partial(open_peer(peer, path, shapes, threads).run, {INPUT: x}) for peer in PEERS}
    if name in BFLOAT16:
        peer = open_peer("openvino", path, shapes, threads, "bfloat16")
        runs["openvino bfloat16"] = partial(peer.run, {INPUT: x})
    if name != "M-CifarNet":
        compiled, feed = torch.compile(network(name)), torch.from_numpy(x)
        runs["torch.compile"] = lambda: no_grad(compiled, feed)
    mod = espalier.from_onnx(path)
    for label, plan in plans(name).items():
        artifact = espalier.build(mod, plan=plan, calibration=random_gates(mod, plan))
        runs[label] = partial(artifact.program.machine["main"], tvm.runtime.tensor(x))
    return runs


def example(name: str) -> np.ndarray:
    """A random image of the network's size, float32 [1, 3, S, S]."""
    size = 32 if name == "M-CifarNet" else 224
    return np.random.default_rng(0).standard_normal((1, 3, size, size), "float32")


def model_of(name: str, folder: Path) -> Path:
    """The network's ONNX file, written once."""
    path = model_path() if name == "M-CifarNet" else folder / "model.onnx"
    return path if path.exists() else export(network(name), example(name), path)


def plans(name: str) -> dict[str, Plan]:
    """What we compile the network with."""
    gated = {"espalier d=0.5": Plan(density=0.5, placement=GATED[name])} if name in GATED else {}
    rounded = {"espalier bfloat16": Plan(weights="bfloat16", activations="bfloat16")} if name in BFLOAT16 else {}
    return {"espalier": Plan(), "espalier direct": Plan(winograd=False), **rounded, **gated}


def no_grad(module, feed):
    """One inference in torch."""
    with torch.inference_mode():
        return module(feed)


def table(rows: list[dict]) -> Table:
    """Milliseconds by contender, and our ratio to the best peer."""
    labels = ("espalier", "espalier direct", *PEERS, "torch.compile")
    result = Table(title=f"Batch 1, float32, median ms (bar: {BAR} of the best peer; gated: {GATED_BAR}x faster)")
    for heading in ("network", "threads", *labels, "ratio", "direct", "d = 0.5, ms", "against best", "build, s"):
        result.add_column(heading, justify="left" if heading == "network" else "right")
    for row in rows:
        times = [f"{1e3 * row['latency_s'][one]:.2f}" if one in row["latency_s"] else "" for one in labels]
        gated = ("", "")
        if row["gated_speed_up"]:
            gated = f"{1e3 * row['latency_s']['espalier d=0.5']:.2f}", f"{row['gated_speed_up']:.2f}x"
        ratios = f"{row['ratio']:.3f}", f"{row['direct_ratio']:.3f}"
        build = f"{row['build_s']['no_cache']:.1f}" if row["build_s"] else ""
        result.add_row(row["network"], str(row["threads"]), *times, *ratios, *gated, build)
    means = ", ".join(f"{key} {geometric_mean([row[key] for row in rows]):.3f}" for key in ("ratio", "direct_ratio"))
    most = max(row["winograd_difference"] for row in rows)
    differs = f"Winograd changes outputs by at most {most:.1e} of the largest"
    result.caption = "\n".join([f"geometric means: {means}", differs, *filter(None, map(in_bfloat16, rows))])
    return result


def in_bfloat16(row: dict) -> str:
    """One line on the contenders in bfloat16, empty where there are none."""
    if row["bfloat16_ratio"] is None:
        return ""
    times = [f"{one} {1e3 * row['latency_s'][f'{one} bfloat16']:.2f} ms" for one in ("espalier", "openvino")]
    where = f"{row['network']} in bfloat16, threads: {row['threads']}"
    return f"{where}: {', '.join(times)}, ratio {row['bfloat16_ratio']:.3f} (bar: {BFLOAT16_BAR})"


if __name__ == "__main__":
    main()
