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
import os
import platform
import shutil
import subprocess
import sys
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

from . import driver, timing
from .kernel_steps import KernelSteps
from .network_steps import NetworkSteps
from .supervise import LOST
from .timing import Record, synchronize

MOST_LOST = 4
"""Steps of a group that may break the GPU's context or hang, before the rest of the group is left out."""
LEAST_S = 8
"""What is left of the time when a step is begun, unless it says otherwise."""
SMI = "clocks.sm,clocks.mem,temperature.gpu,power.draw,clocks_throttle_reasons.active"
"""What nvidia-smi is asked for between steps."""
ESSENTIAL = ("float16", 32)
"""Format and batch of the convolutions that are timed before all others."""


@dataclass(frozen=True)
class Step:
    """Something to be measured, whose failure keeps nothing else from being measured.

    group: of steps that fail alike. limit_s: after which it is taken to hang. needs_s: with less time left it is not
    begun, which keeps that time for more important steps that come later.
    """

    name: str
    group: str
    action: Callable[[], None]
    limit_s: float = 60
    needs_s: float = LEAST_S


def steps_of(kernels: KernelSteps, networks: NetworkSteps, bundle: dict) -> list[Step]:
    """Everything there is to do: what must not be missing first, and what serves only to explain it last."""
    cases, entries = kernels.cases, bundle["networks"]
    first = [one for one in cases["convolutions"] if (one["format"], one["batch"]) == ESSENTIAL]
    rest = [one for one in cases["convolutions"] if one not in first]
    dense = [one for one in [*cases["bars"], *first] if one["density"] == 1]

    def each(group: str, some: list[dict], action, needs_s: float = LEAST_S) -> list[Step]:
        return [Step(_title(one), group, partial(action, one), needs_s=needs_s) for one in some]

    def torch_networks(group: str, mode: str | None, limit_s: float, needs_s: float) -> list[Step]:
        pairs = sorted({(entry["batch"], entry["network"]) for entry in entries}) if networks.peers else []
        return [
            Step(
                f"{group}: {name}, batch {batch}",
                group,
                partial(networks.torch_network, name, batch, mode),
                limit_s,
                needs_s,
            )
            for batch, name in pairs
        ]

    return [
        Step("ceilings", "ceilings", kernels.note_ceilings),
        *each("bodies", bundle["checks"], networks.check),
        Step("packed dense", "packed dense", kernels.packed_dense),
        *each("networks", entries, networks.network),
        *torch_networks("torch", None, 60, LEAST_S),
        *each("bars", cases["bars"], kernels.time_case),
        *each("float16 layers", first, kernels.time_case),
        *each("torch layers", dense if networks.peers else [], kernels.time_torch),
        *torch_networks("torch compiled", "default", 120, 160),
        *each("waves", entries, networks.waves),
        *each("staircase", cases["staircase"], kernels.time_case, 60),
        *each("gates", cases["gates"], kernels.gate, 60),
        *each("checks", [*first, *rest], kernels.check_case, 60),
        # what was traced may go on taking longer: after what matters
        *each("launches", entries if networks.peers else [], networks.launches),
        *each("layers", rest, kernels.time_case),
        *each("long checks", [*cases["bars"], *cases["staircase"]], kernels.check_case, 20),
        *each("other checks", [*first, *rest], kernels.check_others, 20),
        *each("others", [*first, *rest], kernels.time_others, 20),
        *torch_networks("torch tuned", "max-autotune-no-cudagraphs", 150, 75),
    ]


def _title(case: dict) -> str:
    numbers = [f"{key} {case[key]}" for key in ("channels", "batch", "density", "format") if key in case]
    return ", ".join([*([case["name"]] if "name" in case else []), *numbers])


def left_out(record: Record, step: Step) -> str | None:
    """Why a step is not tried: it, or too many of its group, broke the GPU's context or hung before."""
    lost = record.results["lost"]
    if any(one["step"] == step.name for one in lost):
        return "what it launches was lost before"
    same = sum(one["group"] == step.group for one in lost)
    return f"{same} steps of its kind were lost" if same >= MOST_LOST else None


def attempt(record: Record, number: int, step: Step) -> bool:
    """Run a step; a failure is recorded. False if nothing runs on the GPU any more."""
    why, left = left_out(record, step), record.left_s()
    if why is None and left < step.needs_s:
        why = f"{left:.0f} s were left, it is begun with {step.needs_s:.0f} or more"
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
    record.finish(step.group)
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
    peers = load_peers(record)
    steps = steps_of(*(make(options.folder, record, peers) for make in (KernelSteps, NetworkSteps)), bundle)
    record.plan([step.group for step in steps])
    group = ""
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
