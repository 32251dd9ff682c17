"""Does a dense layer that waits for its weights get faster with fewer bits?

A dense layer of bytes at batch 1, with int8 weights and with codebooks of 1 to 6 bits, whose codes stay packed in
memory. Each call takes other weights: together they are at least four times the last-level cache, so that they come
from memory. Beside them a loop that reads as many bytes and does little else: the bandwidth that bounds them all. By
turns in one process. The bar: codebook<4> at least 1.7 times faster than int8.

    python benchmarks/bench_packed_dense.py [--threads 1 2] [--rounds 31]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from statistics import median

import numpy as np
import tvm
from rich.console import Console
from rich.table import Table
from support.kernels import compiled
from support.probes import read_probe
from support.records import write_record

from espalier.codegen.cpu.kernels.dense_int8 import dense_int8, pack_dense_quads
from espalier.codegen.cpu.kernels.int8 import as_kernels_take_it
from espalier.codegen.cpu.kernels.packed_codes import codes_of
from espalier.codegen.cpu.kernels.requantize import packed_constants, rounding_of
from espalier.core.integer import LayerArithmetic
from espalier.core.layers import DenseSpec
from espalier.measure.compare import disturbed, interleave, summarise
from espalier.measure.threads import set_threads
from espalier.targets.cpu import Isa, isa_of
from espalier.targets.resolve import resolve_target

SIZES = ((4096, 4096), (2048, 1000))
"""Inputs and outputs: a layer of VGG-16 and the last one of ResNet-50."""
BITS = (1, 2, 3, 4, 5, 6)
CACHES = 4
"""Weights take so many times the last-level cache."""
SHIFT, BAR = 24, 1.7
SAMPLE_S = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=31)
    options = parser.parse_args()
    cache_bytes, rows = last_level_cache(), []
    for threads in options.threads:
        set_threads(threads)
        rows += [measure(*size, threads, options.rounds, cache_bytes) for size in SIZES]
    Console().print(table(rows))
    write_record("packed_dense", {"last_level_cache_bytes": cache_bytes, "layers": rows})


def last_level_cache() -> int:
    """Bytes of the largest cache of the first core."""
    sizes = [path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max(int(size.rstrip("K")) << 10 for size in sizes)


def measure(c_in: int, c_out: int, threads: int, rounds: int, cache_bytes: int) -> dict:
    """Median seconds of one layer in each format, and of reading."""
    target, memory = resolve_target("llvm"), CACHES * cache_bytes
    isa = isa_of(target)
    reading = read_probe(isa, target, memory, threads)
    runs = {"read": reading.run, "int8": layer(c_in, c_out, None, isa, target, memory)}
    runs |= {f"codebook<{bits}>": layer(c_in, c_out, bits, isa, target, memory) for bits in BITS}
    samples = interleave(runs, rounds, SAMPLE_S, settle_s=0.0 if threads == 1 else SAMPLE_S)
    times = summarise(samples)
    return {
        "inputs": c_in,
        "outputs": c_out,
        "threads": threads,
        "read_bytes_per_s": reading.work / times["read"].median_s,
        "formats": {
            name: {
                "latency_s": times[name].median_s,
                "quartiles_s": [times[name].quartile1_s, times[name].quartile3_s],
                "speed_up": ratio(samples["int8"], samples[name]),
                "of_bandwidth": ratio(samples["read"], samples[name]) * c_in * c_out * bits / 8 / reading.work,
            }
            for name, bits in {"int8": 8, **{f"codebook<{bits}>": bits for bits in BITS}}.items()
        },
        "disturbed": disturbed(times),
    }


def ratio(seconds: list[float], others: list[float]) -> float:
    """Median over the rounds: what memory gives changes from second to second where others share it."""
    return median(one / other for one, other in zip(seconds, others))


def layer(c_in: int, c_out: int, bits: int | None, isa: Isa, target, memory: int) -> Callable[[], object]:
    """A call of the compiled layer, each time with other weights. bits: of a code, None for int8 weights."""
    rng = np.random.default_rng(0)
    spec = DenseSpec("layer", ("x", "weight", "multiplier"), format="int8", out_format="uint8")
    spec = as_kernels_take_it(spec.with_arguments(integer=LayerArithmetic(0, SHIFT)), isa)
    levels = rng.permutation(np.arange(-127, 128))[: 1 << bits] if bits else np.arange(-127, 128)
    weight = rng.choice(levels, (c_out, c_in)).astype("int8")
    arrays = {"weight": weight, "multiplier": np.full(c_out, 200, "int32")}
    rounding, codes = rounding_of(spec, arrays, isa), codes_of(weight, isa) if bits else None
    constants = packed_constants(spec, arrays, isa.lanes, rounding)
    function = compiled(dense_int8(spec, (1, c_in), c_out, isa, rounding, codes), target)
    packed = pack_dense_quads(weight, isa.lanes, codes)
    given = {"x": rng.integers(0, 256, (1, c_in)).astype("uint8"), **constants}
    given = {role: tvm.runtime.tensor(array) for role, array in given.items()}
    last = [*([codes.table(weight)] if codes else []), np.zeros((1, c_out), "uint8")]
    last = [tvm.runtime.tensor(array) for array in last]
    weights = [tvm.runtime.tensor(packed) for _ in range(math.ceil(memory / packed.nbytes))]
    calls = cycle([[*(one if role == "weight" else given[role] for role in spec.roles), *last] for one in weights])
    return lambda: function(*next(calls))


def table(rows: list[dict]) -> Table:
    """Speed-ups over int8, and shares of the bandwidth."""
    result = Table(title=f"Dense layer out of memory: times the speed of int8 (share of bandwidth; bar 4 bits {BAR})")
    for heading in ("layer", "threads", "read GB/s", "int8 ms", *(f"{bits} bits" for bits in BITS)):
        result.add_column(heading, justify="left" if heading == "layer" else "right")
    for row in rows:
        plain, *packed = row["formats"].values()
        cells = [f"{one['speed_up']:.2f} ({one['of_bandwidth']:.2f})" for one in packed]
        first = (f"{row['inputs']}-{row['outputs']}", str(row["threads"]), f"{row['read_bytes_per_s'] / 1e9:.1f}")
        result.add_row(*first, f"{1e3 * plain['latency_s']:.3f} ({plain['of_bandwidth']:.2f})", *cells)
    return result


if __name__ == "__main__":
    main()
