"""What is measured of networks: they are compared with their references and timed, as a whole and launch by launch."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import tvm
from tvm.runtime.vm import VirtualMachine

from . import network_kernels, timing
from .timing import REPLAYS, Record, median_s, on_device, synchronize

RUNS = 3
"""Of a small network, each on fresh data; TVM captures its CUDA graph in the second one and replays it in the third."""
MOST_FLIPPED = 0.25
"""Share of the samples whose gates may choose otherwise, because saliencies were close: these are not compared."""


class NetworkSteps:
    """Steps on the networks of a bundle. peers: the module of that name, or None."""

    def __init__(self, folder: Path, record: Record, peers):
        self.folder, self.record, self.peers = folder, record, peers
        self.random = np.random.default_rng()

    def check(self, entry: dict) -> None:
        """A small network on fresh data against the bodies of its operators, which run on the CPU."""
        ours = self._machine(entry["file"], timing.DEVICE)
        theirs = self._machine(entry["reference"], "cpu")
        pairs = []
        for _ in range(RUNS):
            x = self.random.standard_normal(entry["shape"], np.float32)
            pairs.append([[one.numpy() for one in run(x)] for run in (ours, theirs)])
        found = agreement(pairs, entry["tolerance"])
        self.record.add("checks", {"name": entry["name"], "variants": entry["variants"], **found})
        print(f"{entry['name']}: error {found['error']:.1e}, {found['flipped']} samples flipped, ok={found['ok']}")

    def network(self, entry: dict) -> None:
        """A compiled network against its reference on the machine that compiled it, and its time."""
        stored, run = np.load(self.folder / f"{entry['file']}.npz"), self._runner(entry)
        runs = [run().numpy()[stored["samples"]] for _ in range(RUNS)]
        error = float(np.max([distances(one, stored["y"]) for one in runs]))  # NaN stays NaN
        ok = error <= entry["tolerance"]
        named = {key: entry[key] for key in ("name", "network", "batch", "density", "weights")}
        self.record.add("checks", {**named, "error": error, "tolerance": entry["tolerance"], "ok": ok})
        found = median_s(run)
        start = time.perf_counter()
        for _ in range(REPLAYS):
            run()
        synchronize()
        wall = (time.perf_counter() - start) / REPLAYS
        self.record.add("networks", {**named, "error": error, **found, "wall_s": wall})
        times = f"{found['median_s'] * 1e6:.0f} us (wall {wall * 1e6:.0f} us)"
        print(f"{entry['name']}: {times}, error {error:.1e} of at most {entry['tolerance']:.1e}, ok={ok}")

    def waves(self, entry: dict) -> None:
        """Grid, resident blocks, waves and tail of each launch of a network, predicted and as the driver has them."""
        library, sms = tvm.runtime.load_module(str(self.folder / entry["file"])), self.record.results["facts"]["sms"]
        rows = [
            network_kernels.waves(launch, predicted, network_kernels.main_node(library, launch), sms)
            for launch, predicted in zip(entry["launches"], entry["predictions"], strict=True)
        ]
        self.record.add("waves", {"name": entry["name"], "kernels": rows})

    def launches(self, entry: dict) -> None:
        """A network launch by launch, as torch's profiler sees it, beside its predictions."""
        run = self._runner(entry)
        for _ in range(RUNS):
            run()
        traced = network_kernels.trace(run)
        kernels = network_kernels.matched(entry["launches"], entry["predictions"], traced.ours)
        self.record.add("launches", {"name": entry["name"], "kernels_s": traced.kernels_s, "kernels": kernels})
        print(f"{entry['name']}: kernels together {traced.kernels_s * 1e6:.0f} us")

    def _machine(self, file: str, device: str):
        """A function that runs a library on an array."""
        device = tvm.runtime.device(device)
        machine = VirtualMachine(tvm.runtime.load_module(str(self.folder / file)), device)
        return lambda x: machine["main"](tvm.runtime.tensor(x, device))

    def _runner(self, entry: dict):
        """A function that runs a network on its input."""
        device = tvm.runtime.device(timing.DEVICE)
        machine = VirtualMachine(tvm.runtime.load_module(str(self.folder / entry["file"])), device)
        x = np.random.default_rng(entry["seed"]).standard_normal(entry["shape"], np.float32)
        return partial(machine["main"], on_device(x))

    def torch_network(self, network: str, batch: int, mode: str | None) -> None:
        """torch's times of a network, as it is or compiled in a mode of torch.compile."""
        for variant, times in self.peers.network(network, batch, mode).items():
            self.record.add("torch", {"network": network, "batch": batch, "variant": variant, **times})
            print(f"torch {network} {variant}, batch {batch}: {times['median_s'] * 1e6:.0f} us")


def distances(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """float64 [N]: for each sample the norm of the error over that of what is expected."""
    actual, expected = (one.reshape(len(one), -1).astype(np.float64) for one in (actual, expected))
    return np.linalg.norm(actual - expected, axis=1) / np.linalg.norm(expected, axis=1)


def agreement(pairs, tolerance: float) -> dict:
    """How far results are off where all gates chose alike, and how many samples are not.

    pairs: for each run what was computed and what is expected: the result, then the lists of each gate. tolerance: 0
    for integers, whose gates may not choose otherwise at all.
    """
    errors, flipped, samples = [0.0], 0, 0
    for (y, *lists), (expected, *expected_lists) in pairs:
        alike = np.ones(len(y), bool)
        for one, other in zip(lists, expected_lists, strict=True):
            alike &= (one == other).all(1)
        errors += list(distances(y, expected)[alike])
        flipped, samples = flipped + int((~alike).sum()), samples + len(y)
    error = float(np.max(errors))  # NaN stays NaN
    few = flipped <= (MOST_FLIPPED if tolerance else 0) * samples
    return {
        "error": error,
        "tolerance": tolerance,
        "flipped": flipped,
        "samples": samples,
        "ok": few and error <= tolerance,
    }
