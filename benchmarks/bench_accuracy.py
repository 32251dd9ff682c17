"""Does a compiled network classify exactly as well as the network it was made from?

ResNet-20/32/44/56 for CIFAR-10 with their published weights, compiled dense, on all 10,000 test images: the
published errors are 8.27, 7.37, 6.90 and 6.61 %; the bar is 0.02 points. The same for the bundled M-CifarNet.

    python benchmarks/bench_accuracy.py
"""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table
from support.cifar10 import load_test, normalise, top1
from support.networks import cifar_resnet
from support.records import write_record

import espalier
from espalier.frontend.bundled import model_path

PUBLISHED = {20: 91.73, 32: 92.63, 44: 93.10, 56: 93.39}
"""Top-1 in percent: K. He et al.'s networks as trained by Y. Idelbayev, whose checkpoints these are."""
BAR, BATCH = 0.02, 50


def main() -> None:
    images, labels = load_test()
    images = normalise(images)
    example = np.zeros((BATCH, 3, 32, 32), "float32")
    rows = []
    for depth, published in PUBLISHED.items():
        artifact = espalier.build(espalier.from_torch(cifar_resnet(depth), example))
        rows.append(
            {"network": f"ResNet-{depth}", "published": published, "compiled": top1(artifact, images, labels, BATCH)}
        )
    bundled = espalier.build(espalier.from_onnx(model_path()))
    rows.append({"network": "M-CifarNet", "published": 91.92, "compiled": top1(bundled, images, labels, 1)})
    Console().print(table(rows))
    write_record("accuracy", rows)


def table(rows: list[dict]) -> Table:
    result = Table(title=f"Top-1 on 10,000 CIFAR-10 test images, percent (bar {BAR} points)")
    for heading in ("network", "published", "compiled", "difference"):
        result.add_column(heading, justify="left" if heading == "network" else "right")
    for row in rows:
        difference = row["compiled"] - row["published"]
        result.add_row(row["network"], f"{row['published']:.2f}", f"{row['compiled']:.2f}", f"{difference:+.2f}")
    return result


if __name__ == "__main__":
    main()
