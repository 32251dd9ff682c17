"""What `run.sh` runs on a GPU machine: checks and times what prepare_gpu.py packed, and torch on the same work.

Needs torch, numpy, tvm_ffi and TVM's runtime; nothing of Espalier is imported. All times are medians of CUDA-event
times of replayed CUDA graphs. Inputs are random and rotate among so many buffers that the L2 cache cannot hold them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import platform
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch  # before TVM: it brings the CUDA runtime that TVM's library asks for
import tvm_ffi

from .network_kernels import kernel_times, matched
from .operands import DTYPES, check, launcher, mask_of, operands
from .timing import DEVICE, LAUNCHES, REPLAYS, Record, graph_of, median_s

ROTATED_BYTES = 150 << 20
MOST_SETS = 16
BYTES = {"uint8": 1, "float16": 2, "float32": 4}
KERNELS_LEFT_S, COMPILE_LEFT_S = 240, 75
"""Seconds that are kept for networks when single kernels are timed, and that torch may take to compile one."""
TORCH_FORMATS = ("float16", "tfloat32", "float32")
"""In which cuDNN is timed, too; torch has no convolution of bytes."""


def ceilings() -> dict:
    """What this GPU reaches: a copy, matrix products in three formats, and an empty launch in a graph."""
    source = torch.rand(1 << 29, device=DEVICE)  # 2 GiB
    target = torch.empty_like(source)
    copied = median_s(lambda: target.copy_(source))["median_s"]
    found = {"copy_bytes_s": 2 * source.numel() * 4 / copied}
    source = target = None  # their memory is needed
    for name, dtype, allowed in (("float16", torch.float16, True), ("tfloat32", torch.float32, True)):
        torch.backends.cuda.matmul.allow_tf32 = allowed
        a, b = (torch.randn(8192, 8192, device=DEVICE).to(dtype) for _ in range(2))
        found[f"{name}_macs_s"] = 8192**3 / median_s(lambda a=a, b=b: a @ b)["median_s"]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    one = torch.zeros(1, device=DEVICE)
    graph = graph_of(lambda: [one.add_(1) for _ in range(100)])
    found["launch_s"] = median_s(graph.replay, 100)["median_s"]
    return found


def timed(library, case: dict, schedule: dict) -> dict:
    """A launch's time, dense or over lists, on rotating buffers."""
    size = sum(math.prod(case[role]) for role in ("x", "weight", "y")) * BYTES[case["dtype"]]
    sets = min(MOST_SETS, max(2, ROTATED_BYTES // size))
    dtype = DTYPES[case["dtype"]]
    runs = [
        launcher(library, case, schedule, operands(case), torch.empty(case["y"], dtype=dtype, device=DEVICE))
        for _ in range(sets)
    ]
    graph = graph_of(lambda: [runs[number % sets]() for number in range(LAUNCHES)])
    return median_s(graph.replay, LAUNCHES)


def torch_timed(case: dict) -> dict:
    """cuDNN's time for the dense layer: channels_last, its own choice of algorithm."""
    dtype = DTYPES[case["dtype"]]
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = case["format"] == "tfloat32"
    sets = []
    for _ in range(2 if case["batch"] > 1 else 8):
        made = operands({**case, "kept": None})
        sets.append([made["x"].permute(0, 3, 1, 2), made["weight"].permute(0, 3, 1, 2), made["bias"].to(dtype)])
    run = torch.nn.functional.conv2d
    graph = graph_of(
        lambda: [run(*sets[number % len(sets)], case["stride"], case["padding"]).relu_() for number in range(LAUNCHES)]
    )
    torch.backends.cudnn.allow_tf32 = False
    return median_s(graph.replay, LAUNCHES)


def measure_kernels(folder: Path, record: Record) -> None:
    """Checks first, then times: the chosen schedules, cuDNN, then the other schedules."""
    library = tvm_ffi.load_module(str(folder / "kernels.so"))
    cases = json.loads((folder / "cases.json").read_text())["convolutions"]
    for case in cases:
        for schedule in case["schedules"]:
            found = check(library, case, schedule)
            record.add("checks", {**_named(case, schedule), **found})
            if not found["ok"]:
                print("WRONG:", _named(case, schedule), found["error"])
    for case in cases:
        if record.left_s() < KERNELS_LEFT_S:
            record.add("skipped", _named(case, case["schedules"][0]))
            continue
        has_peer = case["density"] == 1 and case["format"] in TORCH_FORMATS
        _record_time(library, record, case, case["schedules"][0], torch=torch_timed(case) if has_peer else None)


def measure_other_schedules(folder: Path, record: Record) -> None:
    """What the analytic rule did not choose, as long as there is time."""
    library = tvm_ffi.load_module(str(folder / "kernels.so"))
    for case in json.loads((folder / "cases.json").read_text())["convolutions"]:
        for schedule in case["schedules"][1:]:
            if record.left_s() > 15:
                _record_time(library, record, case, schedule)


def _record_time(library, record: Record, case: dict, schedule: dict, **more) -> None:
    found = timed(library, case, schedule)
    rate = {"macs_s": case["macs"] / found["median_s"], "bytes_s": case["bytes"] / found["median_s"]}
    entry = {**_named(case, schedule), **found, **rate, "predicted_s": schedule["launch"]["predicted_s"], **more}
    record.add("kernels", entry)
    other = f", cuDNN {more['torch']['median_s'] * 1e6:.1f} us" if more.get("torch") else ""
    names = "{name} n{batch} d{density} {format} {function}/{splits}".format(**entry)
    print(f"{names}: {found['median_s'] * 1e6:.1f} us, {rate['macs_s'] * 2e-12:.0f} TFLOP/s{other}")


def _named(case: dict, schedule: dict) -> dict:
    names = {key: case[key] for key in ("name", "batch", "density", "format")}
    return {**names, "function": schedule["function"], "splits": schedule["splits"]}


def measure_gates(folder: Path, record: Record) -> None:
    """Each gate against the formula in float64, then its time."""
    library = tvm_ffi.load_module(str(folder / "kernels.so"))
    for case in json.loads((folder / "cases.json").read_text())["gates"]:
        batch, channels, image, g = (case[key] for key in ("batch", "channels", "image", "granularity"))
        x = torch.randn(batch, image, image, channels, device=DEVICE).half()
        phi, rho = torch.randn(channels, channels, device=DEVICE), torch.rand(channels, device=DEVICE)
        counters = torch.zeros(3, batch, dtype=torch.int32, device=DEVICE)
        outputs = [torch.empty(shape, dtype=getattr(torch, dtype), device=DEVICE) for shape, dtype in case["outputs"]]
        function = library[case["function"]]

        def run(tensors=(x, phi, rho, counters, *outputs), function=function, numbers=case["numbers"]):
            function(*numbers, *tensors)

        run()
        saliency = (x.double().abs().mean((1, 2)) @ phi.T.double() + rho).relu()
        score = saliency.reshape(batch, -1, g).sum(2)
        winners = score.topk(case["kept"], 1).indices.sort(1).values
        pi = saliency * mask_of(winners.int(), channels // g, g)
        error = float((outputs[0] - pi).norm() / pi.norm())
        ok = error < 1e-4 and bool((outputs[1] == winners).all())
        named = {key: case[key] for key in ("batch", "channels", "image", "function")}
        record.add("checks", {**named, "error": error, "ok": ok})
        graph = graph_of(lambda run=run: [run() for _ in range(LAUNCHES)])
        record.add("kernels", {"name": "gate", **named, **median_s(graph.replay, LAUNCHES)})
        print(
            f"gate {channels} {image}x{image} n{batch}: "
            f"{record.results['kernels'][-1]['median_s'] * 1e6:.1f} us, ok={ok}"
        )


def measure_codebook(folder: Path, record: Record) -> None:
    """Packed 4-bit weights against float16 ones of the same shape; both are larger than the L2 cache."""
    library = tvm_ffi.load_module(str(folder / "kernels.so"))
    case = json.loads((folder / "cases.json").read_text())["codebook"]
    size, levels = case["size"], torch.randperm(256, device=DEVICE)[:16].sort().values - 128
    x = torch.randint(0, 256, (1, size), dtype=torch.uint8, device=DEVICE)
    codes = torch.randint(-(2**31), 2**31, (size, size // 8), dtype=torch.int32, device=DEVICE)
    table = levels.to(torch.int8).view(torch.int32)
    bias, scale = torch.randint(-999, 999, (size,), dtype=torch.int32, device=DEVICE), torch.rand(size, device=DEVICE)
    y = torch.full((1, size), float("nan"), device=DEVICE)
    function = library[case["function"]]
    function(*case["numbers"], x, codes, table, bias, scale, y)
    nibbles = torch.stack([codes >> shift & 15 for shift in range(0, 32, 4)], 2).reshape(size, size)
    expected = ((levels[nibbles].double() @ x[0].double()) + bias).float() * scale
    ok = bool(torch.equal(y[0], expected))
    record.add("checks", {"name": "packed dense", "function": case["function"], "ok": ok})
    del nibbles
    packed = graph_of(lambda: [function(*case["numbers"], x, codes, table, bias, scale, y) for _ in range(LAUNCHES)])
    weight, halves = torch.randn(size, size, device=DEVICE).half(), torch.randn(1, size, device=DEVICE).half()
    dense = graph_of(lambda: [torch.nn.functional.linear(halves, weight) for _ in range(LAUNCHES)])
    found, other = median_s(packed.replay, LAUNCHES), median_s(dense.replay, LAUNCHES)
    rate = codes.numel() * 4 / found["median_s"]
    record.add("kernels", {"name": "packed dense", "size": size, **found, "bytes_s": rate, "torch": other})
    print(
        f"packed dense: {found['median_s'] * 1e6:.1f} us, {rate / 1e12:.2f} TB/s, "
        f"float16 {other['median_s'] * 1e6:.1f} us"
    )


def measure_network(folder: Path, entry: dict, record: Record) -> None:
    """A compiled network against its reference on the machine that compiled it, then its time, call by call."""
    import tvm
    from tvm.runtime.vm import VirtualMachine

    stored = np.load(folder / f"{entry['file']}.npz")
    device = tvm.cuda(0)
    machine = VirtualMachine(tvm.runtime.load_module(str(folder / entry["file"])), device)
    x = tvm.runtime.tensor(stored["x"], device)
    runs = [machine["main"](x).numpy()[stored["samples"]] for _ in range(2)]  # the first captures the graph
    error = max(float(np.linalg.norm(one - stored["y"]) / np.linalg.norm(stored["y"])) for one in runs)
    timing = median_s(lambda: machine["main"](x))
    start = time.perf_counter()
    for _ in range(REPLAYS):
        machine["main"](x)
    device.sync()
    wall = (time.perf_counter() - start) / REPLAYS
    kernels = matched(entry["launches"], entry["predictions"], kernel_times(lambda: machine["main"](x)))
    summed = sum(one["measured_s"] for one in kernels if one["measured_s"])
    found = {"name": entry["name"], "error": error, **timing, "wall_s": wall, "batch": entry["batch"]}
    record.add("networks", {**found, "kernels_s": summed, "kernels": kernels})
    print(
        f"{entry['name']}: {timing['median_s'] * 1e6:.0f} us (wall {wall * 1e6:.0f} us, our kernels "
        f"{summed * 1e6:.0f} us), error {error:.1e}"
    )


def measure_torch(network: str, batch: int, record: Record, compiles: bool) -> None:
    """torchvision's network, float16, channels_last: as it is and in a CUDA graph, or compiled and in a graph."""
    import torchvision

    if compiles and record.left_s() < COMPILE_LEFT_S:
        raise TimeoutError(f"{record.left_s():.0f} s are left, compiling may take {COMPILE_LEFT_S}")
    model = getattr(torchvision.models, network)().cuda().eval().half().to(memory_format=torch.channels_last)
    x = torch.randn(batch, 3, 224, 224, device=DEVICE).half().to(memory_format=torch.channels_last)
    torch.backends.cudnn.benchmark = True
    with torch.inference_mode():
        if compiles:
            compiled = torch.compile(model, mode="max-autotune-no-cudagraphs", fullgraph=True)
            compiled(x)
            variants = {"compiled graph": graph_of(lambda: compiled(x)).replay}
        else:
            variants = {"eager": lambda: model(x), "graph": graph_of(lambda: model(x)).replay}
        for name, run in variants.items():
            timing = median_s(run)
            record.add("torch", {"network": network, "batch": batch, "variant": name, **timing})
            print(f"torch {network} {name}, batch {batch}: {timing['median_s'] * 1e6:.0f} us")


def attempt(record: Record, what: str, action) -> None:
    """Run a step; a failure is recorded and the next step goes on."""
    try:
        action()
    except Exception as error:
        record.add("skipped", {"step": what, "error": f"{type(error).__name__}: {error}"})
        print(f"{what}: {type(error).__name__}: {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("record", type=Path)
    parser.add_argument("--seconds", type=float, default=400)
    options = parser.parse_args()
    bundle = json.loads((options.folder / "bundle.json").read_text())
    properties = torch.cuda.get_device_properties(0)
    facts = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "device": properties.name,
        "sms": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "arch": bundle["arch"],
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "python": platform.python_version(),
    }
    record = Record(options.record, options.seconds, facts)
    torch.manual_seed(int(time.time()))
    attempt(record, "ceilings", lambda: facts.update(ceilings()))
    print(json.dumps(facts))
    attempt(record, "kernels", lambda: measure_kernels(options.folder, record))
    attempt(record, "gates", lambda: measure_gates(options.folder, record))
    attempt(record, "packed dense", lambda: measure_codebook(options.folder, record))
    for entry in bundle["networks"]:
        attempt(record, entry["name"], lambda entry=entry: measure_network(options.folder, entry, record))
    networks = sorted({(entry["batch"], entry["network"]) for entry in bundle["networks"]})
    for compiles in (False, True):
        for batch, network in networks:
            step = f"torch {network} {batch}{' compiled' if compiles else ''}"
            attempt(record, step, partial(measure_torch, network, batch, record, compiles))
    attempt(record, "other schedules", lambda: measure_other_schedules(options.folder, record))
    wrong = [one for one in record.results["checks"] if not one["ok"]]
    print(f"{len(record.results['checks'])} checks, {len(wrong)} wrong; {len(record.results['skipped'])} steps skipped")


if __name__ == "__main__":
    main()
