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
from support.gpu_cases import GRANULARITY, codebook_case, conv_cases, gate_cases, variants

import espalier
from espalier.codegen.cuda.kernel_objects import link, object_of
from espalier.codegen.cuda.prediction import predict
from espalier.core.plan import Plan
from espalier.targets.gpu import Gpu, gpu_of_arch

HALF = {"weights": "float16"}
GATED = {**HALF, "density": 0.5, "placement": "sum", "granularity": GRANULARITY}
NETWORKS = {
    f"{network}{batch}{gates}": (network, size, Plan(**plan))
    for network in ("resnet18", "resnet50")
    for batch, size in (("", 1), (" batch 32", 32))
    for gates, plan in (("", HALF), (" d=0.5", GATED))
}
NETWORKS["resnet18 int8"] = ("resnet18", 1, Plan(weights="uniform<8>", activations="uniform<8>"))
IMAGE, IMAGES = (3, 224, 224), 16
"""Of an input; and how many of them ranges of activations are observed on."""
SLIM = ("include", "3rdparty", "src", "cmake", "web", "lib64", "__pycache__", "libtvm_compiler.so")
"""Of TVM's package: what running a compiled library does not need."""


def write_kernels(folder: Path, gpu: Gpu) -> None:
    """One library with every variant that a case names."""
    link(str(folder / "kernels.so"), [str(object_of(one, gpu.arch)) for one in variants(gpu)])
    cases = {"convolutions": conv_cases(gpu), "gates": gate_cases(gpu), "codebook": codebook_case()}
    (folder / "cases.json").write_text(json.dumps(cases))


def write_network(folder: Path, name: str, arch: str) -> dict:
    """A compiled network with an input and what it gives on this CPU; returns its entry in bundle.json."""
    from support.gates import random_gates  # torch is imported only where networks are wanted

    network, batch, plan = NETWORKS[name]
    mod = read_network(network, batch)
    gates = random_gates(mod, plan)
    if plan.activations:
        images = np.random.default_rng(2).standard_normal((IMAGES, *IMAGE), np.float32)
        gates = espalier.calibrate(mod, images, plan)
    artifact = espalier.build(mod, {"kind": "cuda", "arch": arch}, plan, gates)
    file = name.replace(" ", "-").replace("=", "") + ".so"
    artifact.program.link(folder / file)
    x = np.random.default_rng(1).standard_normal(artifact.inputs[0].shape, np.float32)
    reference = espalier.build(read_network(network, 1), "llvm", plan, gates, lower=False)
    samples = sorted({0, batch - 1})  # one by one: the reference is slow
    y = np.concatenate([reference(x[one : one + 1]) for one in samples])
    np.savez(folder / f"{file}.npz", x=x, y=y, samples=samples)
    launches = [launch.to_dict() for launch in artifact.program.launches]
    stored = {"name": name, "file": file, "network": network, "batch": batch, "launches": launches}
    return {**stored, "predictions": predictions(artifact, arch), "report": list(artifact.report)}


def predictions(artifact: espalier.Artifact, arch: str) -> list[dict]:
    """What `espalier profile` predicts of each launch, without the launch itself."""
    found = [one.to_dict() for one in predict(artifact.program.launches, gpu_of_arch(arch))]
    return [{key: value for key, value in one.items() if key != "launch"} for one in found]


def read_network(name: str, batch: int) -> tvm.IRModule:
    """A network of ImageNet's shapes whose weights have 16 levels."""
    import torch
    from support.imagenet import resnet50
    from support.networks import resnet18

    module = resnet18() if name == "resnet18" else _with_statistics(resnet50)
    with torch.no_grad():
        for one in module.modules():
            if isinstance(one, torch.nn.Conv2d | torch.nn.Linear):
                step = one.weight.std() / 4
                one.weight.copy_((one.weight / step).round().clamp(-8, 7) * step)
    return espalier.from_torch(module, np.zeros((batch, *IMAGE), np.float32))


def _with_statistics(make):
    """A module in evaluation mode whose batch norms have seen its activations, so that these stay near unit scale."""
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        module = make().train()
        for one in module.modules():
            if isinstance(one, torch.nn.BatchNorm2d):
                one.momentum = None
        module(torch.randn(4, 3, 128, 128))
    return module.eval()


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
