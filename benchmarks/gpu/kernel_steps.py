"""What is measured of single kernels: they are checked against numpy and timed, each on buffers that rotate."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import tvm

from . import timing
from .operands import check, launcher, mask_of, operands, output_of, sample_of
from .timing import LAUNCHES, Record, graph_of, median_s, on_device, synchronize

ROTATED_BYTES = 150 << 20
"""More than twice the L2 cache of any GPU up to Hopper, so that it holds nothing of what comes round again."""
MOST_SETS = 256
BYTES = {"uint8": 1, "float16": 2, "float32": 4}
COPIED = 1 << 29
"""float32 numbers of the copy whose bandwidth is the measured one: 2 GiB."""
ROWS_AT_ONCE = 1024
"""Of the packed layer's reference."""
NAMES = ("name", "batch", "density", "format")
FACTS = ("part", "activation_bytes", "weight_bytes", "macs", "bytes")
"""Of a case, by which it is known, and which stand in the record, too."""


class KernelSteps:
    """Steps on the library of single kernels and its cases. peers: the module of that name, or None."""

    def __init__(self, folder: Path, record: Record, peers):
        self.record, self.peers = record, peers
        self.library = tvm.runtime.load_module(str(folder / "kernels.so"))
        self.cases = json.loads((folder / "cases.json").read_text())
        self.random = np.random.default_rng()

    def note_ceilings(self) -> None:
        """What this GPU reaches: a copy, a launch of next to no work in a graph, and matrix products of cuBLAS."""
        function, arguments, _ = self._codebook(self.cases["least"])
        graph = graph_of(lambda: [function(*arguments) for _ in range(100)])
        facts = self.record.results["facts"]
        facts |= {"copy_bytes_s": copied_bytes_s(), "launch_s": median_s(graph.replay, 100)["median_s"]}
        facts |= self.peers.facts() if self.peers else {}
        print(json.dumps(facts))

    def check_case(self, case: dict) -> None:
        """A convolution under the chosen schedule."""
        self._check(case, case["schedules"][:1])

    def check_others(self, case: dict) -> None:
        """A convolution under schedules that were not chosen."""
        self._check(case, case["schedules"][1:])

    def _check(self, case: dict, schedules: list[dict]) -> None:
        sample = sample_of(case, self.random)
        for schedule in schedules:
            found = check(self.library, case, schedule, sample)
            self.record.add("checks", {**_named(case, schedule), **found})
            if not found["ok"]:
                print("WRONG:", _named(case, schedule), found["error"])

    def time_case(self, case: dict) -> None:
        """A convolution under the chosen schedule."""
        self._time(case, case["schedules"][0])

    def time_torch(self, case: dict) -> None:
        """cuDNN's time of a dense convolution."""
        for variant, found in self.peers.convolution(case, sets_of(case)):
            named = {key: case[key] for key in NAMES}
            self.record.add("torch", {**named, "variant": variant, **found})
            print(f"{variant} {named}: {found['median_s'] * 1e6:.1f} us")

    def time_others(self, case: dict) -> None:
        """What the analytic rule did not choose."""
        for schedule in case["schedules"][1:]:
            self._time(case, schedule)

    def _time(self, case: dict, schedule: dict) -> None:
        found = timed(self.library, case, schedule, self.random)
        rate = {"macs_s": case["macs"] / found["median_s"], "bytes_s": case["bytes"] / found["median_s"]}
        facts = {key: case[key] for key in FACTS} | {"predicted_s": schedule["launch"]["predicted_s"]}
        entry = {**_named(case, schedule), **found, **rate, **facts, "chosen": schedule is case["schedules"][0]}
        self.record.add("kernels", entry)
        names = "{name} n{batch} d{density} {format} {function}/{splits}".format(**entry)
        print(f"{names}: {found['median_s'] * 1e6:.1f} us, {rate['macs_s'] * 2e-12:.0f} TFLOP/s")

    def gate(self, case: dict) -> None:
        """A gate, with the sums of its input, against the formula in float64; then the time of each launch."""
        batch, channels, image = (case[key] for key in ("batch", "channels", "image"))
        x = self.random.standard_normal((batch, image, image, channels), np.float32).astype(np.float16)
        phi = self.random.standard_normal((channels, channels), np.float32)
        rho = self.random.random(channels, np.float32)
        sets = [_GateCalls(self.library, case, x, phi, rho) for _ in range(rotated(x.nbytes + phi.nbytes))]
        sets[0].add()
        sets[0].run()
        synchronize()
        found = gate_errors(case, x, phi, rho, *(one.numpy() for one in sets[0].outputs[:2]))
        named = {key: case[key] for key in ("batch", "channels", "image")}
        self.record.add("checks", {"name": "gate", **named, "function": case["function"], **found})
        for name, one, calls in (
            ("channel sums", case["sums"], [one.add for one in sets]),
            ("gate", case, [one.run for one in sets]),
        ):
            times = rotating(calls)
            facts = {**named, "function": one["function"], "predicted_s": one["predicted_s"]}
            self.record.add("kernels", {"name": name, "part": "gates", **facts, **times})
            print(f"{name} {channels} {image}x{image} n{batch}: {times['median_s'] * 1e6:.1f} us, ok={found['ok']}")

    def packed_dense(self) -> None:
        """Packed 4-bit weights beside torch's float16 ones of the same shape."""
        case = self.cases["codebook"]
        function, arguments, data = self._codebook(case)
        function(*arguments)
        synchronize()
        ok = bool(np.array_equal(arguments[-1].numpy()[0], codebook_reference(*data)))
        self.record.add("checks", {"name": "packed dense", "function": case["function"], "ok": ok})
        size = case["size"]
        count = rotated(size**2 // 2)
        sets = [arguments, *(self._codebook(case)[1] for _ in range(count - 1))]
        found = rotating([partial(function, *one) for one in sets])
        rate = size**2 / 2 / found["median_s"]
        entry = {"name": "packed dense", "part": "packed", "size": size, **found, "bytes_s": rate}
        self.record.add("kernels", entry)
        print(f"packed dense: {found['median_s'] * 1e6:.1f} us, {rate / 1e12:.2f} TB/s, ok={ok}")
        if self.peers:
            other = self.peers.linear(size, rotated(2 * size**2))
            self.record.add("torch", {"name": "dense", "size": size, "variant": "float16", **other})
            print(f"    float16: {other['median_s'] * 1e6:.1f} us")

    def _codebook(self, case: dict):
        """The function of a packed layer, its arguments, and the data: x, codes, levels, bias, scale."""
        size, random = case["size"], self.random
        levels = np.sort(random.permutation(256)[:16] - 128).astype(np.int8)
        x = random.integers(0, 256, (1, size), np.uint8)
        codes = random.integers(0, 1 << 32, (size, size // 8), np.uint32)
        bias, scale = random.integers(-999, 999, size, np.int32), random.random(size, np.float32)
        data, y = (x, codes, levels, bias, scale), np.full((1, size), np.nan, np.float32)
        arrays = [x, codes.view(np.int32), levels.view(np.int32), bias, scale, y]
        return self.library[case["function"]], [*case["numbers"], *map(on_device, arrays)], data


class _GateCalls:
    """The two launches of a gate on buffers of their own."""

    def __init__(self, library, case: dict, x: np.ndarray, phi: np.ndarray, rho: np.ndarray):
        sums = on_device(np.zeros(case["sums"]["shape"], np.float32))
        self.outputs = [on_device(np.zeros(shape, dtype)) for shape, dtype in case["outputs"]]
        counters = [np.zeros(case["counters"], np.int32)] if case["counters"] else []
        tensors = [sums, *map(on_device, (phi, rho, *counters)), *self.outputs]
        self.add = partial(library[case["sums"]["function"]], *case["sums"]["numbers"], on_device(x), sums)
        self.run = partial(library[case["function"]], *case["numbers"], *tensors)


def copied_bytes_s() -> float:
    """Bytes that a copy on the device reads and writes in a second."""
    source, target = (tvm.runtime.empty((COPIED,), "float32", tvm.runtime.device(timing.DEVICE)) for _ in range(2))
    return 2 * COPIED * 4 / median_s(lambda: source.copyto(target))["median_s"]


def rotated(size: int) -> int:
    """Sets of buffers of so many bytes each that the L2 cache cannot hold together."""
    return min(MOST_SETS, max(2, -(-ROTATED_BYTES // size)))


def sets_of(case: dict) -> int:
    """Sets of buffers of a convolution."""
    return rotated(sum(math.prod(case[role]) for role in ("x", "weight", "y")) * BYTES[case["dtype"]])


def rotating(calls: list) -> dict:
    """The time of a launch. calls: the same launch on each set of buffers."""
    launches = max(LAUNCHES, len(calls))
    graph = graph_of(lambda: [calls[number % len(calls)]() for number in range(launches)])
    return {**median_s(graph.replay, launches), "sets": len(calls)}


def timed(library, case: dict, schedule: dict, random: np.random.Generator) -> dict:
    """A launch's time, dense or over lists, on rotating buffers, which hold the same numbers."""
    made = operands(case, random)
    return rotating(
        [
            launcher(library, case, schedule, {role: on_device(one) for role, one in made.items()}, output_of(case))
            for _ in range(sets_of(case))
        ]
    )


def gate_errors(case: dict, x, phi, rho, pi, winners) -> dict:
    """How far a gate is off the formula in float64, and whether it chose the same groups."""
    batch, channels, g = (case[key] for key in ("batch", "channels", "granularity"))
    means = np.abs(x.astype(np.float64)).mean((1, 2))
    saliency = np.maximum(means @ phi.astype(np.float64) + rho, 0)
    order = np.argsort(-saliency.reshape(batch, -1, g).sum(2), 1, kind="stable")
    expected = np.sort(order[:, : case["kept"]], 1)
    kept = saliency * mask_of(expected, channels // g, g)
    error = float(np.linalg.norm(pi - kept) / np.linalg.norm(kept))
    return {"error": error, "ok": error < 1e-4 and bool(np.array_equal(winners, expected))}


def codebook_reference(x, codes, levels, bias, scale) -> np.ndarray:
    """float32 [size]: the packed layer, its integers exact in float64."""
    sums = np.empty(len(codes))
    shifts, table, vector = np.arange(0, 32, 4, dtype=np.uint32), levels.astype(np.float64), x[0].astype(np.float64)
    for first in range(0, len(codes), ROWS_AT_ONCE):
        nibbles = codes[first : first + ROWS_AT_ONCE, :, None] >> shifts & 15
        sums[first : first + ROWS_AT_ONCE] = table[nibbles].reshape(len(nibbles), -1) @ vector
    return (sums + bias).astype(np.float32) * scale


def _named(case: dict, schedule: dict) -> dict:
    return {**{key: case[key] for key in NAMES}, "function": schedule["function"], "splits": schedule["splits"]}
