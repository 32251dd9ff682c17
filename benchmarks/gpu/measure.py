"""What `run.sh` runs on a GPU machine: checks and times what prepare_gpu.py packed, and torch on the same work.

Needs what the bundle carries (numpy, TVM's runtime) and NVIDIA's driver; torch only for comparisons with it, which are
left out where it is missing. Nothing of Espalier is imported. All times are medians of CUDA-event times of replayed
CUDA graphs. Inputs are random and rotate among so many buffers that the L2 cache cannot hold them.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

try:
    import torch  # before TVM, so that each finds its own CUDA runtime
except ImportError:
    torch = None
import numpy as np
import tvm
from tvm.runtime.vm import VirtualMachine

from . import driver, timing
from .network_kernels import kernel_times, matched
from .operands import check, launcher, mask_of, operands, output_of, sample_of
from .supervise import LOST
from .timing import LAUNCHES, REPLAYS, Record, graph_of, median_s, on_device, synchronize

ROTATED_BYTES = 150 << 20
MOST_SETS = 256
BYTES = {"uint8": 1, "float16": 2, "float32": 4}
CHECKS_LEFT_S, KERNELS_LEFT_S, COMPILE_LEFT_S = 300, 240, 75
"""Seconds that are kept when schedules that were not chosen are checked, when single kernels are timed, and for torch
to compile a network."""
COPIED = 1 << 29
"""float32 numbers of the copy whose bandwidth is the measured one: 2 GiB."""
ROWS_AT_ONCE = 1024
"""Of the packed layer's reference."""
MOST_LOST = 4
"""Steps of a group that may break the GPU's context or hang, before the rest of the group is left out."""
SMI = "clocks.sm,clocks.mem,temperature.gpu,power.draw,clocks_throttle_reasons.active"
"""What nvidia-smi is asked for between steps."""


@dataclass(frozen=True)
class Step:
    """Something to be measured, whose failure keeps nothing else from being measured.

    group: of steps that fail alike. limit_s: after which it is taken to hang.
    """

    name: str
    group: str
    action: Callable[[], None]
    limit_s: float = 60


class Bench:
    """What all steps share. cases: of the library of single kernels. peers: the module of that name, or None."""

    def __init__(self, folder: Path, record: Record, peers):
        self.folder, self.record, self.peers = folder, record, peers
        self.library = tvm.runtime.load_module(str(folder / "kernels.so"))
        self.cases = json.loads((folder / "cases.json").read_text())
        self.random = np.random.default_rng()

    def ceilings(self) -> dict:
        """What this GPU reaches: a copy, and a launch of next to no work in a graph."""
        function, arguments, _ = self._codebook(self.cases["least"])
        graph = graph_of(lambda: [function(*arguments) for _ in range(100)])
        launch = median_s(graph.replay, 100)["median_s"]
        return {"copy_bytes_s": copied_bytes_s(), "launch_s": launch, **(self.peers.facts() if self.peers else {})}

    def note_ceilings(self) -> None:
        """Add them to the facts about the machine."""
        facts = self.record.results["facts"]
        facts.update(self.ceilings())
        print(json.dumps(facts))

    def check_case(self, case: dict) -> None:
        """A convolution under the chosen schedule, and under others as long as there is time."""
        sample = sample_of(case, self.random)
        for schedule in case["schedules"]:
            if schedule is not case["schedules"][0] and self.record.left_s() < CHECKS_LEFT_S:
                self.record.add("skipped", {"step": "check", **_named(case, schedule)})
                continue
            found = check(self.library, case, schedule, sample)
            self.record.add("checks", {**_named(case, schedule), **found})
            if not found["ok"]:
                print("WRONG:", _named(case, schedule), found["error"])

    def time_case(self, case: dict) -> None:
        """A convolution under the chosen schedule, and cuDNN's."""
        if self.record.left_s() < KERNELS_LEFT_S:
            self.record.add("skipped", _named(case, case["schedules"][0]))
            return
        self._time(case, case["schedules"][0])
        if self.peers:
            found = self.peers.convolution(case, sets_of(case))
            if found:
                self.record.add("torch", {**_named(case, case["schedules"][0]), "variant": "cuDNN", **found})
                print(f"    cuDNN: {found['median_s'] * 1e6:.1f} us")

    def time_others(self, case: dict) -> None:
        """What the analytic rule did not choose, as long as there is time."""
        for schedule in case["schedules"][1:]:
            if self.record.left_s() > 15:
                self._time(case, schedule)

    def gate(self, case: dict) -> None:
        """A gate, with the sums of its input, against the formula in float64; then the time of each launch."""
        batch, channels, image = (case[key] for key in ("batch", "channels", "image"))
        x = self.random.standard_normal((batch, image, image, channels), np.float32).astype(np.float16)
        phi = self.random.standard_normal((channels, channels), np.float32)
        rho = self.random.random(channels, np.float32)
        sums = on_device(np.zeros(case["sums"]["shape"], np.float32))
        outputs = [on_device(np.zeros(shape, dtype)) for shape, dtype in case["outputs"]]
        counters = [np.zeros(case["counters"], np.int32)] if case["counters"] else []
        add = partial(self.library[case["sums"]["function"]], *case["sums"]["numbers"], on_device(x), sums)
        tensors = [sums, *map(on_device, (phi, rho, *counters)), *outputs]
        run = partial(self.library[case["function"]], *case["numbers"], *tensors)
        add()
        run()
        synchronize()
        found = gate_errors(case, x, phi, rho, outputs[0].numpy(), outputs[1].numpy())
        named = {key: case[key] for key in ("batch", "channels", "image")}
        self.record.add("checks", {**named, "function": case["function"], **found})
        for name, one, launched in (("channel sums", case["sums"], add), ("gate", case, run)):
            graph = graph_of(lambda launched=launched: [launched() for _ in range(LAUNCHES)])
            times = median_s(graph.replay, LAUNCHES)
            facts = {**named, "function": one["function"], "predicted_s": one["predicted_s"]}
            self.record.add("kernels", {"name": name, **facts, **times})
            print(f"{name} {channels} {image}x{image} n{batch}: {times['median_s'] * 1e6:.1f} us, ok={found['ok']}")

    def packed_dense(self) -> None:
        """Packed 4-bit weights, larger than the L2 cache, beside torch's float16 ones of the same shape."""
        case = self.cases["codebook"]
        function, arguments, data = self._codebook(case)
        function(*arguments)
        synchronize()
        ok = bool(np.array_equal(arguments[-1].numpy()[0], codebook_reference(*data)))
        self.record.add("checks", {"name": "packed dense", "function": case["function"], "ok": ok})
        found = median_s(graph_of(lambda: [function(*arguments) for _ in range(LAUNCHES)]).replay, LAUNCHES)
        rate = case["size"] ** 2 / 2 / found["median_s"]
        other = self.peers.linear(case["size"]) if self.peers else None
        self.record.add(
            "kernels", {"name": "packed dense", "size": case["size"], **found, "bytes_s": rate, "torch": other}
        )
        beside = f", float16 {other['median_s'] * 1e6:.1f} us" if other else ""
        print(f"packed dense: {found['median_s'] * 1e6:.1f} us, {rate / 1e12:.2f} TB/s, ok={ok}{beside}")

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

    def _time(self, case: dict, schedule: dict) -> None:
        found = timed(self.library, case, schedule, self.random)
        rate = {"macs_s": case["macs"] / found["median_s"], "bytes_s": case["bytes"] / found["median_s"]}
        entry = {**_named(case, schedule), **found, **rate, "predicted_s": schedule["launch"]["predicted_s"]}
        self.record.add("kernels", entry)
        names = "{name} n{batch} d{density} {format} {function}/{splits}".format(**entry)
        print(f"{names}: {found['median_s'] * 1e6:.1f} us, {rate['macs_s'] * 2e-12:.0f} TFLOP/s")

    def network(self, entry: dict) -> None:
        """A compiled network against its reference on the machine that compiled it, and its time."""
        stored, run = np.load(self.folder / f"{entry['file']}.npz"), self._runner(entry)
        runs = [run().numpy()[stored["samples"]] for _ in range(2)]  # the first captures the graph
        error = max(float(np.linalg.norm(one - stored["y"]) / np.linalg.norm(stored["y"])) for one in runs)
        found = median_s(run)
        start = time.perf_counter()
        for _ in range(REPLAYS):
            run()
        synchronize()
        wall = (time.perf_counter() - start) / REPLAYS
        named = {"name": entry["name"], "batch": entry["batch"]}
        self.record.add("networks", {**named, "error": error, **found, "wall_s": wall})
        print(f"{entry['name']}: {found['median_s'] * 1e6:.0f} us (wall {wall * 1e6:.0f} us), error {error:.1e}")

    def launches(self, entry: dict) -> None:
        """A network launch by launch, beside its predictions; times where torch's profiler can be had."""
        run, times = self._runner(entry), []
        if self.peers:
            run()
            run()
            times = kernel_times(run)
        kernels = matched(entry["launches"], entry["predictions"], times)
        summed = sum(one["measured_s"] for one in kernels if one["measured_s"])
        self.record.add("launches", {"name": entry["name"], "kernels_s": summed, "kernels": kernels})
        print(f"{entry['name']}: our kernels take {summed * 1e6:.0f} us")

    def _runner(self, entry: dict):
        """A function that runs a network on its input."""
        device = tvm.runtime.device(timing.DEVICE)
        machine = VirtualMachine(tvm.runtime.load_module(str(self.folder / entry["file"])), device)
        x = np.random.default_rng(entry["seed"]).standard_normal(entry["shape"], np.float32)
        return partial(machine["main"], on_device(x))

    def torch_network(self, network: str, batch: int, compiles: bool) -> None:
        """torch's times of a network."""
        if compiles and self.record.left_s() < COMPILE_LEFT_S:
            raise TimeoutError(f"{self.record.left_s():.0f} s are left, compiling may take {COMPILE_LEFT_S}")
        for variant, times in self.peers.network(network, batch, compiles).items():
            self.record.add("torch", {"network": network, "batch": batch, "variant": variant, **times})
            print(f"torch {network} {variant}, batch {batch}: {times['median_s'] * 1e6:.0f} us")


def copied_bytes_s() -> float:
    """Bytes that a copy on the device reads and writes in a second."""
    source, target = (tvm.runtime.empty((COPIED,), "float32", tvm.runtime.device(timing.DEVICE)) for _ in range(2))
    return 2 * COPIED * 4 / median_s(lambda: source.copyto(target))["median_s"]


def sets_of(case: dict) -> int:
    """Sets of buffers that the L2 cache cannot hold together."""
    size = sum(math.prod(case[role]) for role in ("x", "weight", "y")) * BYTES[case["dtype"]]
    return min(MOST_SETS, max(2, -(-ROTATED_BYTES // size)))


def timed(library, case: dict, schedule: dict, random: np.random.Generator) -> dict:
    """A launch's time, dense or over lists, on rotating buffers, which hold the same numbers."""
    sets, made = sets_of(case), operands(case, random)
    launches = max(LAUNCHES, sets)
    runs = [
        launcher(library, case, schedule, {role: on_device(one) for role, one in made.items()}, output_of(case))
        for _ in range(sets)
    ]
    graph = graph_of(lambda: [runs[number % sets]() for number in range(launches)])
    return {**median_s(graph.replay, launches), "sets": sets}


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
    names = {key: case[key] for key in ("name", "batch", "density", "format")}
    return {**names, "function": schedule["function"], "splits": schedule["splits"]}


def steps_of(bench: Bench, bundle: dict) -> list[Step]:
    """Everything there is to do, most wanted results first."""
    convolutions, gates = bench.cases["convolutions"], bench.cases["gates"]
    networks = sorted({(entry["batch"], entry["network"]) for entry in bundle["networks"]}) if bench.peers else []
    steps = [Step("ceilings", "ceilings", bench.note_ceilings)]
    steps += [Step(_title(one), "checks", partial(bench.check_case, one)) for one in convolutions]
    steps += [Step(_title(one), "kernels", partial(bench.time_case, one)) for one in convolutions]
    steps += [Step(f"gate {number}", "gates", partial(bench.gate, one)) for number, one in enumerate(gates)]
    steps += [Step("packed dense", "packed dense", bench.packed_dense)]
    steps += [Step(one["name"], "networks", partial(bench.network, one)) for one in bundle["networks"]]
    for compiles, limit_s in ((False, 60), (True, 2 * COMPILE_LEFT_S)):
        for batch, network in networks:
            name = f"torch {network} {batch}{' compiled' if compiles else ''}"
            steps.append(Step(name, "torch", partial(bench.torch_network, network, batch, compiles), limit_s))
    # what is traced may go on taking longer: last of all that is timed as a whole
    steps += [Step(one["name"], "launches", partial(bench.launches, one)) for one in bundle["networks"]]
    return [*steps, *(Step(_title(one), "others", partial(bench.time_others, one)) for one in convolutions)]


def _title(case: dict) -> str:
    return "{name} n{batch} d{density} {format}".format(**case)


def left_out(record: Record, step: Step) -> str | None:
    """Why a step is not tried: it, or too many of its group, broke the GPU's context or hung before."""
    lost = record.results["lost"]
    if any(one["step"] == step.name for one in lost):
        return "what it launches was lost before"
    same = sum(one["group"] == step.group for one in lost)
    return f"{same} steps of its kind were lost" if same >= MOST_LOST else None


def attempt(record: Record, number: int, step: Step) -> bool:
    """Run a step; a failure is recorded. False if nothing runs on the GPU any more."""
    why = left_out(record, step)
    if why:
        record.add("skipped", {"step": step.name, "group": step.group, "error": why})
        return True
    record.begin(number, step.name, step.group, step.limit_s)
    try:
        step.action()
    except Exception as error:
        record.add("skipped", {"step": step.name, "group": step.group, "error": f"{type(error).__name__}: {error}"})
        print(f"{step.name}: {type(error).__name__}: {error}")
        return lives()
    return True


def lives() -> bool:
    """Whether the GPU still runs what this process asks for; after a fault in a kernel it does not."""
    try:
        synchronize()
    except Exception:
        return False
    return True


def clocks() -> dict | None:
    """Clocks, temperature, power and what limits them, now; None without nvidia-smi."""
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", f"--query-gpu={SMI}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(zip(SMI.split(","), done.stdout.splitlines()[0].split(", ")))


def load_peers(record: Record):
    """The module `peers`, None (and why, in the record) where torch is missing or sees no GPU."""
    if torch is None or not torch.cuda.is_available():
        why = "is not installed" if torch is None else "sees no GPU"
        record.add("skipped", {"step": "torch", "error": f"torch {why}"})
        print(f"torch {why}: nothing is compared with it")
        return None
    from . import peers

    return peers


def load_cuda_runtime() -> None:
    """TVM's part for CUDA, which TVM loads by itself only where its compiler is, too; OSError says what it misses."""
    ctypes.CDLL(str(Path(tvm.__file__).parent / "lib" / "libtvm_runtime_cuda.so"))


def device_facts(bundle: dict) -> dict:
    """What the record says of the machine; SystemExit in one line if nothing can run here."""
    try:
        version = driver.version()
    except RuntimeError as error:
        sys.exit(str(error))
    if version < tuple(bundle["cuda"]):
        sys.exit("NVIDIA's driver is for CUDA {}.{}, the bundle needs one for {}.{}".format(*version, *bundle["cuda"]))
    try:
        load_cuda_runtime()
    except OSError as error:
        sys.exit(f"TVM's runtime for CUDA cannot be loaded: {error}")
    device = tvm.runtime.device(timing.DEVICE)
    if not device.exist:
        sys.exit("NVIDIA's driver is here and shows no GPU (nvidia-smi should list one)")
    capability, arch = str(device.compute_version), bundle["arch"]
    if f"sm_{capability.replace('.', '')}" != arch.rstrip("a"):
        sys.exit(f"the bundle is for {arch}, {device.device_name} is {capability}: prepare_gpu.py --arch makes another")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "device": str(device.device_name),
        "sms": device.multi_processor_count,
        "capability": capability,
        "arch": arch,
        "driver_cuda": version,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("record", type=Path)
    parser.add_argument("--seconds", type=float, default=400)
    parser.add_argument("--first", type=int, default=0, help="number of the step to begin with, in the record so far")
    options = parser.parse_args()
    bundle = json.loads((options.folder / "bundle.json").read_text())
    facts = device_facts(bundle)
    record = Record(options.record, options.seconds, facts if options.first == 0 else None)
    bench = Bench(options.folder, record, load_peers(record))
    steps, group = steps_of(bench, bundle), ""
    for number, step in enumerate(steps[options.first :], options.first):
        if step.group != group:
            group = step.group
            record.add("clocks", {"before": group, **(clocks() or {})})
        if not attempt(record, number, step):
            sys.stdout.flush()
            os._exit(LOST)  # what is left of the context is not to be taken down in an orderly way
    wrong = [one for one in record.results["checks"] if not one["ok"]]
    counts = {kind: len(record.results[kind]) for kind in ("checks", "skipped", "lost")}
    print("{checks} checks, {wrong} wrong; {skipped} steps skipped, {lost} lost".format(**counts, wrong=len(wrong)))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
