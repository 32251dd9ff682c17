"""Does a network that comes quantized classify as it does in ONNX Runtime?

ResNet-20 and M-CifarNet for CIFAR-10, quantized by ONNX Runtime on training images (QDQ form, uint8 activations, int8
weights per channel), in ONNX Runtime and compiled by Espalier, on all 10,000 test images. The bar: the same class for
at least 99.9 % of them.

    python benchmarks/bench_qdq.py
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from support.cifar10 import load_test, load_train, normalise
from support.networks import cifar_resnet, mcifarnet
from support.onnx_files import INPUT, export, quantize
from support.records import write_record

import espalier
from espalier.measure.agreement import Agreement, first_outputs, top1
from espalier.measure.peers import open_peer

NETWORKS = {"ResNet-20": partial(cifar_resnet, 20), "M-CifarNet": mcifarnet}
BAR, BATCH, CALIBRATION_IMAGES = 0.999, 50, 500


def main() -> None:
    images, labels = load_test()
    batches = in_batches(normalise(images))
    rows = [measure(name, batches, labels) for name in NETWORKS]
    Console().print(table(rows))
    write_record("qdq", rows)


def measure(name: str, batches: np.ndarray, labels: np.ndarray) -> dict:
    """Top-1 of both, and how often they agree."""
    training = in_batches(normalise(load_train(CALIBRATION_IMAGES)[0]))
    with tempfile.TemporaryDirectory() as folder:
        real = export(NETWORKS[name](), training[0], Path(folder) / "float32.onnx")
        path = quantize(real, training, Path(folder) / "int8.onnx")
        peer, artifact = (
            open_peer("onnxruntime", path, {INPUT: training[0].shape}),
            espalier.build(espalier.from_onnx(path)),
        )
        theirs = first_outputs(lambda x: peer.run({INPUT: x}), batches)
        ours = first_outputs(lambda x: [artifact(x)], batches)
    return {
        "network": name,
        "top1_onnxruntime": 100 * top1(theirs, labels),
        "top1_espalier": 100 * top1(ours, labels),
        "same_class": Agreement.of(ours, theirs).same_class,
        "equal_logits": float(np.mean(ours == theirs)),
    }


def in_batches(images: np.ndarray) -> np.ndarray:
    """[N, C, H, W] to [N / BATCH, BATCH, C, H, W]."""
    return images.reshape(-1, BATCH, *images.shape[1:])


def table(rows: list[dict]) -> Table:
    """Percent."""
    result = Table(title=f"QDQ models on 10,000 CIFAR-10 test images, percent (bar: {100 * BAR:g} of the same class)")
    for heading in ("network", "ONNX Runtime", "Espalier", "same class", "equal logits"):
        result.add_column(heading, justify="left" if heading == "network" else "right")
    for row in rows:
        tops = (f"{row['top1_onnxruntime']:.2f}", f"{row['top1_espalier']:.2f}")
        result.add_row(row["network"], *tops, f"{100 * row['same_class']:.2f}", f"{100 * row['equal_logits']:.3f}")
    return result


if __name__ == "__main__":
    main()
