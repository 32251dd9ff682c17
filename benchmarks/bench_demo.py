"""What does `make demo` show? The bundled network, dense, with calibrated and with trained gates, against ONNX Runtime.

python benchmarks/bench_demo.py [--threads 1] [--rounds 30]
"""

from __future__ import annotations

import argparse

from support.records import write_record

from espalier.commands import demo
from espalier.commands.output import show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    outcome = demo.run(options.threads, options.rounds)
    show(outcome, False)
    write_record("demo", outcome.data)


if __name__ == "__main__":
    main()
