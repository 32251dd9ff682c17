"""How much faster is the pruned and quantized M-CifarNet than the dense one in any library and precision?

The dense network in ONNX Runtime and OpenVINO, in float32, OpenVINO's bfloat16, and int8 as ONNX Runtime quantizes it;
Espalier's dense in float32; and trained networks with gates from benchmarks/checkpoints in float32 and as integers
(uniform<8>, quantized without further training, ranges from 500 training images). One thread, batch 1, by turns in one
process. Top-1 of each Espalier program on all 10,000 test images. The bar: a network with gates that loses at most 1
point against the dense one in float32 is at least 2.5 times faster than the fastest peer, whatever that one loses.

    python benchmarks/bench_equal_accuracy.py [--rounds 20] [--images 10000]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tvm
from rich.console import Console
from rich.table import Table
from support import checkpoints
from support.cifar10 import load_test, load_train, normalise, top1
from support.networks import mcifarnet
from support.onnx_files import quantize
from support.records import write_record

import espalier
from espalier.frontend.bundled import model_path
from espalier.measure.compare import calm_timings, disturbed
from espalier.measure.peers import open_peer
from espalier.training.exporting import export_float

NETWORK, INPUT, SHAPE = "mcifarnet", "image", (3, 32, 32)
PEERS = (("onnxruntime", "float32"), ("openvino", "float32"), ("openvino", "bfloat16"))
INTEGER_PEERS = ("onnxruntime", "openvino")
BAR, MOST_LOST = 2.5, 1.0
CALIBRATION_IMAGES, BATCH, ALL_IMAGES = 500, 50, 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--images", type=int, default=ALL_IMAGES, help="test images, the first of them")
    options = parser.parse_args()
    espalier.set_threads(1)
    images, labels = (part[: options.images] for part in load_test())
    observed = normalise(load_train()[0][:CALIBRATION_IMAGES])
    rows, runs = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        runs |= peers(observed, normalise(images[:1]), Path(folder))
        for name, compiled in programs(observed):
            rows[name] = {"top1": top1(compiled(BATCH), normalise(images), labels, BATCH)}
            single = compiled(1).program
            runs[name] = partial(single.machine["main"], tvm.runtime.tensor(normalise(images[:1])))
        times = calm_timings(runs, options.rounds)
    for name, timing in times.items():
        rows.setdefault(name, {"top1": None})
        rows[name] |= {"latency_s": timing.median_s, "quartiles_s": [timing.quartile1_s, timing.quartile3_s]}
    found = judged(rows)
    Console().print(table(found))
    if options.images == ALL_IMAGES:
        write_record("equal_accuracy", {**found, "disturbed": disturbed(times)})


def peers(observed: np.ndarray, x: np.ndarray, folder: Path) -> dict[str, Callable[[], object]]:
    """Calls without arguments that run the dense network once, by the peer's name and precision."""
    files = {f"{peer} {precision}": (peer, model_path(), precision) for peer, precision in PEERS}
    quantized = quantize(model_path(), observed[:, None], folder / "int8.onnx")
    files |= {f"{peer} int8": (peer, quantized, "float32") for peer in INTEGER_PEERS}
    opened = {name: open_peer(peer, path, {INPUT: x.shape}, 1, kind) for name, (peer, path, kind) in files.items()}
    return {name: partial(one.run, {INPUT: x}) for name, one in opened.items()}


def programs(observed: np.ndarray) -> Iterator[tuple[str, Callable[[int], espalier.Artifact]]]:
    """(name, artifact for a batch) of our networks."""
    yield "espalier float32", lambda batch: espalier.build(espalier.from_torch(mcifarnet(), torch.zeros(batch, *SHAPE)))
    for one in checkpoints.all_finished():
        if one.network == NETWORK and one.recipe.is_gated:
            yield f"{one.name} float32", partial(gated, one, None)
            yield f"{one.name} uniform<8>", partial(gated, one, observed)


def gated(one: checkpoints.Finished, observed: np.ndarray | None, batch: int) -> espalier.Artifact:
    """A trained network with its gates; quantized if there are images to observe its activations on."""
    formats = {} if observed is None else {"weights": "uniform<8>"}
    mod, plan, calibration = export_float(one.model, espalier.Plan(**formats), torch.zeros(batch, *SHAPE))
    if observed is not None:
        calibration = espalier.calibrate(mod, observed, plan, gates_from=calibration)
    return espalier.build(mod, plan=plan, calibration=calibration)


def judged(rows: dict[str, dict]) -> dict:
    """The rows, the fastest peer, and the fastest network of ours that loses at most `MOST_LOST` points."""
    best = min((name for name in rows if rows[name]["top1"] is None), key=lambda name: rows[name]["latency_s"])
    least = rows["espalier float32"]["top1"] - MOST_LOST
    good = [name for name, row in rows.items() if row["top1"] is not None and row["top1"] >= least]
    ours = min(good, key=lambda name: rows[name]["latency_s"])
    speed_up = rows[best]["latency_s"] / rows[ours]["latency_s"]
    return {"rows": rows, "best_peer": best, "best": ours, "speed_up": speed_up, "bar": BAR}


def table(found: dict) -> Table:
    rows, best = found["rows"], found["best_peer"]
    result = Table(
        title="M-CifarNet, batch 1, one thread",
        caption=f"{found['best']} is {found['speed_up']:.2f} times faster than {best} (bar {BAR})",
    )
    for heading in ("", "top-1, %", "ms", f"against {best}"):
        result.add_column(heading, justify="right" if heading else "left")
    for name, row in rows.items():
        shown = "" if row["top1"] is None else f"{row['top1']:.2f}"
        ratio = rows[best]["latency_s"] / row["latency_s"]
        result.add_row(name, shown, f"{1e3 * row['latency_s']:.3f}", f"{ratio:.2f}x")
    return result


if __name__ == "__main__":
    main()
