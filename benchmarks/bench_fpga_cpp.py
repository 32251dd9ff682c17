"""Does the emitted C++ of two ResNet-8 accelerators give the integer network's numbers on CIFAR-10's test images?

The designs are the two of bench_fpga.py, dense and mixed. The emitted Vitis HLS C++ runs under g++, its streams as
short as in hardware and its sums of the bits that hardware has, and every number that comes out is compared with what
the compiled integer network gives. Accuracy is the integer network's (bench_fpga.py).

    python benchmarks/bench_fpga_cpp.py [--images 1000] [--design dense] [--native-widths]

A design that is not asked for keeps what the record says of it. --native-widths has integers of 32 bits.
"""

from __future__ import annotations

import argparse

from rich.console import Console
from support.accelerators import BOARD, DESIGNS, Source, emulated, hardware_digest
from support.cifar10 import load_test
from support.records import merged_rows, write_record

RECORD = "fpga_cpp"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--design", choices=DESIGNS, action="append", help="both by default")
    parser.add_argument("--native-widths", action="store_true")
    options = parser.parse_args()
    for name in options.design or DESIGNS:
        row = simulated(name, options.images, not options.native_widths)
        Console().print(row)
        write_record(RECORD, merged_rows(RECORD, [row], ["design"]))


def simulated(name: str, count: int, exact_widths: bool) -> dict:
    """What the C++ of a design gives for the first `count` images."""
    model, interval = DESIGNS[name]
    source = Source.of(model)
    program = source.program(interval)
    return {
        "design": name,
        "model": model.name,
        "board": BOARD,
        "interval_bar": interval,
        "interval_cycles": program.schedule.interval_cycles,
        "hardware": hardware_digest(program.graph),
        **emulated(program, source.inputs(load_test()[0][:count]), exact_widths),
    }


if __name__ == "__main__":
    main()
