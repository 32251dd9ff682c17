"""Everything that `run.sh` takes to a GPU machine, in one file; needs nvcc and no GPU.

Weights are random numbers of 16 levels, so that compressed libraries stay small; what networks compute is compared with
their reference bodies on this CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
import tvm
from support import REPOSITORY

import espalier
from espalier.codegen.cuda.kernel_launches import launch_of
from espalier.codegen.cuda.kernel_objects import link, object_of
from espalier.codegen.cuda.kernels import channel_gate, dense_codebook
from espalier.codegen.cuda.kernels.choose_schedule import choose_schedule, schedules
from espalier.codegen.cuda.kernels.conv2d import (
    NUMBERS,
    TILES,
    Problem,
    Schedule,
    call_numbers,
    scratch_shapes,
)
from espalier.codegen.cuda.layout import Layout, whole_groups
from espalier.core.integer import LayerArithmetic
from espalier.core.layers import Activation, ActiveList, ChannelGateSpec, Conv2dSpec, DenseSpec
from espalier.core.plan import Plan
from espalier.targets.gpu import Gpu, gpu_of_arch

LAYERS = {
    "3x3 64-64 56x56": (64, 64, 56, 3, 1),
    "3x3 128-128 28x28": (128, 128, 28, 3, 1),
    "3x3 256-256 14x14": (256, 256, 14, 3, 1),
    "3x3 512-512 7x7": (512, 512, 7, 3, 1),
    "3x3 64-128 56x56 stride 2": (64, 128, 56, 3, 2),
    "1x1 256-64 56x56": (256, 64, 56, 1, 1),
    "1x1 1024-256 14x14": (1024, 256, 14, 1, 1),
    "7x7 3-64 224x224 stride 2": (3, 64, 224, 7, 2),
}
"""Convolutions of ResNet-18 and ResNet-50: channels in and out, image, kernel, stride."""
DENSITIES, BATCHES, GRANULARITY = (1.0, 0.5, 0.25), (32, 1), 16
NETWORKS = {
    "resnet18": (1, Plan(weights="float16")),
    "resnet18 d=0.5": (1, Plan(weights="float16", density=0.5, placement="sum", granularity=GRANULARITY)),
    "resnet18 batch 32": (32, Plan(weights="float16")),
    "resnet18 batch 32 d=0.5": (32, Plan(weights="float16", density=0.5, placement="sum", granularity=GRANULARITY)),
}
SLIM = ("include", "3rdparty", "src", "cmake", "web", "lib64", "__pycache__", "libtvm_compiler.so")
"""Of TVM's package: what running a compiled library does not need."""


def conv_cases(gpu: Gpu) -> list[dict]:
    """Every layer at every density and batch, under the schedule that is chosen and, dense, under all others."""
    cases = []
    for batch in BATCHES:
        for name in LAYERS:
            for density in DENSITIES if LAYERS[name][0] >= 4 * GRANULARITY else DENSITIES[:1]:
                cases.append(conv_case(name, batch, density, "float16", gpu))
    cases += [conv_case(name, 1, 1.0, number_format, gpu) for name in list(LAYERS)[:3] for number_format in NUMBERS]
    return cases


def conv_case(name: str, batch: int, density: float, number_format: str, gpu: Gpu) -> dict:
    """One layer as numbers and shapes, for `measure.py`."""
    c_in, c_out, image, kernel, stride = LAYERS[name]
    pad, out = kernel // 2, -(-image // stride)
    gated = density < 1
    lists = [ActiveList(int(density * channels) // GRANULARITY, GRANULARITY) for channels in (c_in, c_out)]
    spec = Conv2dSpec(
        name,
        ("x", "weight", "bias", *(("pi", "winners", "active") if gated else ())),
        Activation("relu"),
        "output" if gated else "none",
        lists[1] if gated else None,
        lists[0] if gated else None,
        (stride, stride),
        (pad,) * 4,
        format=number_format,
    )
    x_shape, out_shape = (batch, c_in, image, image), (batch, c_out, out, out)
    problem = Problem.of(spec, x_shape, (c_out, c_in, kernel, kernel), out_shape)
    y_dtype = NUMBERS[number_format].element
    chosen = choose_schedule(problem, gpu)
    others = [one for one in schedules(problem) if one != chosen and one.splits in (1, 4, 8)] if not gated else []
    given = [role for role in spec.roles if role not in ("x", "weight")]
    launch = launch_of(spec, problem, chosen, y_dtype, gpu)
    return {
        "name": name,
        "batch": batch,
        "density": density,
        "format": number_format,
        "x": Layout(y_dtype).physical(x_shape),
        "weight": (whole_groups(c_out), kernel, kernel, whole_groups(c_in)),
        "y": Layout(y_dtype).physical(out_shape),
        "dtype": y_dtype,
        "stride": stride,
        "padding": pad,
        "channels_in": c_in,
        "granularity": GRANULARITY,
        "kept": [one.count for one in lists] if gated else None,
        "macs": launch.macs,
        "bytes": launch.bytes,
        "schedules": [_schedule(spec, problem, one, given, y_dtype, gpu) for one in (chosen, *others)],
    }


def _schedule(spec, problem: Problem, schedule: Schedule, given, y_dtype: str, gpu: Gpu) -> dict:
    counters, partial = scratch_shapes(problem, schedule)
    return {
        "function": schedule.tile.variant(problem.number_format).name,
        "splits": schedule.splits,
        "numbers": call_numbers(spec, problem, schedule, given, y_dtype),
        "counters": counters,
        "partial": partial,
        "launch": launch_of(spec, problem, schedule, y_dtype, gpu).to_dict(),
    }


def gate_cases(gpu: Gpu) -> list[dict]:
    """The gates of ResNet-18's stages."""
    cases = []
    for batch in BATCHES:
        for channels, image in ((64, 56), (128, 28), (256, 14), (512, 7)):
            spec = ChannelGateSpec("gate", "boost", GRANULARITY, channels // GRANULARITY // 2)
            parts = channel_gate.gate_parts(gpu, batch, image * image)
            numbers = channel_gate.gate_numbers(spec, (batch, channels, image, image), channels, "float16", parts)
            outputs = channel_gate.output_shapes(batch, channels, channels, spec.kept, parts)
            case = {"batch": batch, "channels": channels, "image": image, "granularity": GRANULARITY, "kept": spec.kept}
            cases.append({**case, "function": channel_gate.VARIANT.name, "numbers": numbers, "outputs": outputs})
    return cases


def codebook_case(size: int = 16384) -> dict:
    """A square dense layer of 4-bit codes at batch 1."""
    spec = DenseSpec("fc", ("x", "weight", "bias", "scale"), format="int8", integer=LayerArithmetic(0))
    numbers = dense_codebook.codebook_numbers(spec, 1, np.zeros((size, size), np.int8))
    return {"size": size, "function": dense_codebook.VARIANT.name, "numbers": numbers}


def write_kernels(folder: Path, gpu: Gpu) -> None:
    """One library with every variant that a case names."""
    variants = [tile.variant("float16") for tile in TILES]
    variants += [tile.variant(number_format) for tile in TILES for number_format in ("float32", "tfloat32")]
    variants += [channel_gate.VARIANT, dense_codebook.VARIANT]
    link(str(folder / "kernels.so"), [str(object_of(one, gpu.arch)) for one in variants])
    cases = {"convolutions": conv_cases(gpu), "gates": gate_cases(gpu), "codebook": codebook_case()}
    (folder / "cases.json").write_text(json.dumps(cases))


def write_network(folder: Path, name: str, arch: str) -> dict:
    """A compiled network with an input and what it gives on this CPU; returns its entry in networks.json."""
    from support.gates import random_gates  # torch is imported only where networks are wanted

    batch, plan = NETWORKS[name]
    mod = _network(batch)
    gates = random_gates(mod, plan)
    artifact = espalier.build(mod, {"kind": "cuda", "arch": arch}, plan, gates)
    file = name.replace(" ", "-").replace("=", "") + ".so"
    artifact.program.link(folder / file)
    x = np.random.default_rng(1).standard_normal(artifact.inputs[0].shape, np.float32)
    reference = espalier.build(_network(1), "llvm", plan, gates, lower=False)
    samples = sorted({0, batch - 1})  # one by one: the reference is slow
    y = np.concatenate([reference(x[one : one + 1]) for one in samples])
    np.savez(folder / f"{file}.npz", x=x, y=y, samples=samples)
    launches = [launch.to_dict() for launch in artifact.program.launches]
    return {"name": name, "file": file, "batch": batch, "launches": launches, "report": list(artifact.report)}


def _network(batch: int) -> tvm.IRModule:
    import torch
    from support.networks import resnet18

    module = resnet18()
    with torch.no_grad():
        for one in module.modules():
            if isinstance(one, torch.nn.Conv2d | torch.nn.Linear):
                step = one.weight.std() / 4
                one.weight.copy_((one.weight / step).round().clamp(-8, 7) * step)
    return espalier.from_torch(module, np.zeros((batch, 3, 224, 224), np.float32))


def write_runtime(folder: Path, python: str) -> None:
    """TVM's files without its compiler, and the wheel of its calling convention for that Python."""
    shutil.copytree(Path(tvm.__file__).parent, folder / "runtime" / "tvm", ignore=shutil.ignore_patterns(*SLIM))
    platforms = [text for tag in ("2_28", "2_24", "2_17") for text in ("--platform", f"manylinux_{tag}_x86_64")]
    version = metadata.version("apache-tvm-ffi")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *platforms]
    command += ["--python-version", python, "--implementation", "cp", "-d", str(folder / "wheels")]
    subprocess.run([*command, f"apache-tvm-ffi=={version}"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="sm_90a")
    parser.add_argument("--python", default="3.12", help="Python of the GPU machine")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("-o", "--output", type=Path, default=REPOSITORY / "build" / "gpu" / "bundle.tar.xz")
    options = parser.parse_args()
    gpu = gpu_of_arch(options.arch)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_kernels(folder, gpu)
        networks = [write_network(folder, name, gpu.arch) for name in options.networks]
        facts = {"arch": gpu.arch, "gpu": dataclasses.asdict(gpu), "networks": networks}
        (folder / "bundle.json").write_text(json.dumps(facts))
        write_runtime(folder, options.python)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(options.output, "w:xz") as archive:
            for path in sorted(folder.iterdir()):
                archive.add(path, path.name)
    print(f"{options.output.name}: {options.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
