"""Does the C++ that is emitted for ResNet-8 (int8) give the integer network's numbers on CIFAR-10's test images?

MLPerf Tiny's reference weights (benchmarks/convert_models_tiny.py) become the fastest accelerator that fits a PYNQ-Z2
by the models. The emitted Vitis HLS C++ runs under g++, its streams as short as in hardware, and every number that
comes out is compared with what the compiled integer network gives. Accuracy is that of the numbers that came out.

    python benchmarks/bench_fpga_cpp.py [--images 1000]
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from support import REPOSITORY
from support.cifar10 import load_test
from support.records import write_record

import espalier
from espalier.codegen.fpga_hls.program import HLS
from espalier.core.files import write_files
from espalier.measure.fpga.hls_simulation import build_hls

MODEL = REPOSITORY / "benchmarks" / "out" / "resnet8-int8.onnx"
TARGET = "fpga_hls/pynq-z2"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    images, labels = load_test()
    x = np.ascontiguousarray(images[: options.images].transpose(0, 3, 1, 2), dtype=np.float32)
    program = espalier.build(espalier.from_onnx(options.model), TARGET).program
    given, expected = (np.stack(one) for one in zip(*(program.vectors([image[None]]) for image in x)))
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), program.projects())
        bench = build_hls(Path(folder) / HLS, Path(folder) / "build", exact_widths=False)
        found = bench.run(given, expected, limit_s=3600)
    answers = found.outputs.reshape(len(x), -1).argmax(1)
    row = {
        "network": "resnet8-int8",
        "target": TARGET,
        "images": len(x),
        "numbers": int(expected.size),
        "numbers_that_differ": found.wrong,
        "top1": round(100 * float((answers == labels[: len(x)]).mean()), 2),
        "interval_cycles": program.schedule.interval_cycles,
        "latency_cycles": program.latency_cycles,
        "estimated_resources": dataclasses.asdict(program.resources),
        "digest": program.digest(),
        "seconds_per_image": round(found.run_s / len(x), 4),
    }
    Console().print(row)
    write_record("fpga_cpp", [row])


if __name__ == "__main__":
    main()
