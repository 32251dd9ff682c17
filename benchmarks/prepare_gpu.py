"""Everything that `run.sh` takes to a GPU machine, in one file; needs nvcc and no GPU.

Weights are random numbers of 16 levels, and inputs are seeds, so that the file stays small; what networks compute is
compared with their reference bodies on this CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import lzma
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
from support.gpu_cases import (
    GRANULARITY,
    bar_cases,
    codebook_case,
    conv_cases,
    gate_cases,
    stair_cases,
    variants,
)

import espalier
from espalier.codegen.cuda.device import CUDA_VERSION
from espalier.codegen.cuda.kernel_objects import link, object_of
from espalier.codegen.cuda.prediction import predict
from espalier.core.plan import Plan
from espalier.targets.gpu import Gpu, gpu_of_arch

HALF = {"weights": "float16"}
GATED = {**HALF, "density": 0.5, "placement": "sum", "granularity": GRANULARITY}
NETWORKS = {
    f"{network}{batch}{gates}": (network, size, Plan(**plan))
    for network in ("resnet18", "resnet50")
    for gates, plan in (("", HALF), (" d=0.5", GATED))
    for batch, size in (("", 1), (" batch 32", 32))
}
NETWORKS["resnet18 int8"] = ("resnet18", 1, Plan(weights="uniform<8>", activations="uniform<8>"))
IMAGE, IMAGES = (3, 224, 224), 16
"""Of an input; and how many of them ranges of activations are observed on."""
CUDA = (CUDA_VERSION // 1000, CUDA_VERSION % 1000 // 10)
NOISE, DRAWS, MARGIN = 4 * 2**-11, 4, 2
"""Relative, of an input: four roundings to float16, as much as those of sixteen layers one after the other; how often
it is drawn; and how many times as far as the worst draw moves a network a GPU may be off."""
LEAST_TOLERANCE, MOST_TOLERANCE = 1e-2, 0.5
"""What is never too much for networks of float16; and what another result altogether would be beyond."""
SEED = 1
"""Of the normal numbers that a network's input is: numpy travels with it, and makes the same ones there."""
SLIM = ("include", "3rdparty", "src", "cmake", "web", "lib64", "__pycache__", "libtvm_compiler.so")
"""Of TVM's package: what running a compiled library does not need."""
WHEELS = ("numpy", "apache-tvm-ffi", "ml-dtypes", "typing-extensions")
"""What TVM's runtime imports."""
GLIBC = ("2_28", "2_27", "2_24", "2_17")
"""Whose wheels are taken: the other machine is expected to be no older than the first."""
PRESET, WINDOW = 6, 104 << 20
"""Of xz; the bytes that it looks back are more than any library of a network, whose neighbour has the same weights."""


def write_kernels(folder: Path, gpu: Gpu) -> None:
    """One library with every variant that a case names."""
    link(str(folder / "kernels.so"), [str(object_of(one, gpu.arch)) for one in variants(gpu)])
    cases = {"convolutions": conv_cases(gpu), "bars": bar_cases(gpu), "staircase": stair_cases(gpu)}
    cases |= {"gates": gate_cases(gpu)}
    cases |= {"codebook": codebook_case(), "least": codebook_case(32)}
    (folder / "cases.json").write_text(json.dumps(cases))


def write_checks(folder: Path, arch: str) -> list[dict]:
    """The small networks that are checked on fresh data; their entries in bundle.json."""
    from support.gpu_checks import CHECKS, write_check  # torch is imported only where networks are wanted

    return [write_check(folder, name, number, arch) for number, name in enumerate(CHECKS)]


def write_network(folder: Path, name: str, arch: str) -> dict:
    """A compiled network, and what it gives on this CPU; returns its entry in bundle.json."""
    network, batch, plan = NETWORKS[name]
    single = name.replace(" batch 32", "")
    gates, _ = reference_of(single)
    artifact = espalier.build(read_network(network, batch), {"kind": "cuda", "arch": arch}, plan, gates)
    file = name.replace(" ", "-").replace("=", "") + ".so"
    artifact.program.link(folder / file)
    samples = sorted({0, batch - 1})
    y = np.concatenate([answer_of(single, one) for one in samples])
    np.savez(folder / f"{file}.npz", y=y, samples=samples)
    launches = [launch.to_dict() for launch in artifact.program.launches]
    stored = {"name": name, "file": file, "network": network, "batch": batch, "launches": launches}
    stored |= {"density": plan.density, "weights": plan.weights}
    stored |= {"seed": SEED, "shape": [batch, *IMAGE], "predictions": predictions(artifact, arch)}
    stored["tolerance"] = max(network_tolerance(single, one) for one in samples)
    seconds = sum(one["predicted_s"] for one in stored["predictions"])
    found = f"{len(launches)} launches, {seconds * 1e6:.0f} us by prediction, not measured"
    print(f"{name}: {found}; may be {stored['tolerance']:.1e} off its reference", flush=True)
    return {**stored, "report": list(artifact.report)}


@functools.cache
def reference_of(name: str) -> tuple[espalier.Calibration, espalier.Artifact]:
    """The gates of a network of batch 1, and its reference body on this CPU."""
    from support.gates import random_gates

    network, batch, plan = NETWORKS[name]
    mod = read_network(network, batch)
    if plan.activations:
        images = np.random.default_rng(2).standard_normal((IMAGES, *IMAGE), np.float32)
        found = espalier.calibrate(mod, images, plan)
    else:
        made = random_gates(mod, plan).gates
        found = espalier.Calibration({gate: espalier.Gate(coarse(one.phi), one.rho) for gate, one in made.items()})
    return found, espalier.build(mod, "llvm", plan, found, lower=False)


@functools.cache
def answer_of(name: str, sample: int) -> np.ndarray:
    """What the network of batch 1 gives for a sample, which is the same one in a batch of any size."""
    return reference_of(name)[1](sample_of(sample))


def sample_of(number: int) -> np.ndarray:
    """A sample of a network's input, [1, *IMAGE]."""
    return np.random.default_rng(SEED).standard_normal((number + 1, *IMAGE), np.float32)[number:]


@functools.cache
def network_tolerance(name: str, sample: int) -> float:
    """How far a GPU may be off the reference, in norms; integers are exact.

    A GPU rounds sums that lie near a tie to the other side, and gates whose saliencies are close then choose otherwise.
    How much that moves a network is measured on its reference, by noise on its input.
    """
    if NETWORKS[name][2].activations:
        return 0.0
    x, y, random = sample_of(sample), answer_of(name, sample), np.random.default_rng(SEED)
    noisy = (x * (1 + random.uniform(-NOISE, NOISE, x.shape).astype(np.float32)) for _ in range(DRAWS))
    moved = max(float(np.linalg.norm(reference_of(name)[1](one) - y)) for one in noisy) / np.linalg.norm(y)
    return float(min(MOST_TOLERANCE, max(LEAST_TOLERANCE, MARGIN * moved)))


def coarse(values: np.ndarray) -> np.ndarray:
    """The numbers on 16 levels, which compress eight times."""
    step = values.std() / 4
    return (np.clip(np.round(values / step), -8, 7) * step).astype(np.float32)


def predictions(artifact: espalier.Artifact, arch: str) -> list[dict]:
    """What `espalier profile` predicts of each launch, without the launch itself."""
    found = [one.to_dict() for one in predict(artifact.program.launches, gpu_of_arch(arch))]
    return [{key: value for key, value in one.items() if key != "launch"} for one in found]


def read_network(name: str, batch: int) -> tvm.IRModule:
    """A network of ImageNet's shapes whose weights have 16 levels."""
    import torch
    from support.gpu_checks import with_statistics
    from support.imagenet import resnet50
    from support.networks import resnet18

    module = resnet18() if name == "resnet18" else with_statistics(resnet50, (3, 128, 128))
    with torch.no_grad():
        for one in module.modules():
            if isinstance(one, torch.nn.Conv2d | torch.nn.Linear):
                one.weight.copy_(torch.from_numpy(coarse(one.weight.numpy())))
    return espalier.from_torch(module, np.zeros((batch, *IMAGE), np.float32))


def write_runtime(folder: Path, python: str) -> None:
    """What `measure.py` imports, for that Python: TVM without its compiler, CUDA's runtime library, and `WHEELS`."""
    site = folder / "site"
    copy_tvm(site)
    platforms = [text for tag in GLIBC for text in ("--platform", f"manylinux_{tag}_x86_64")]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"]
    command += [*platforms, "--python-version", python, "--implementation", "cp", "--target", str(site)]
    subprocess.run([*command, *(f"{one}=={metadata.version(one)}" for one in WHEELS)], check=True)
    for tests in site.glob("numpy/**/tests"):
        shutil.rmtree(tests)
    (folder / "python").write_text(f"{python}\n")


def copy_tvm(site: Path) -> None:
    """TVM without its compiler, and CUDA's runtime library."""
    shutil.copytree(Path(tvm.__file__).parent, site / "tvm", ignore=shutil.ignore_patterns(*SLIM))
    shutil.copy(cuda_runtime(), site / "tvm" / "lib")  # TVM's library looks for it there first


def cuda_runtime() -> Path:
    """CUDA's runtime library, from its wheel."""
    return next(one.locate() for one in metadata.files("nvidia-cuda-runtime") if one.name.startswith("libcudart.so."))


def pack(folder: Path, networks: list[str], output: Path) -> None:
    """Everything in the folder as one archive; networks come last and in this order."""
    last = [folder / one for one in networks]
    window = [{"id": lzma.FILTER_LZMA2, "preset": PRESET, "dict_size": WINDOW}]
    with lzma.open(output, "wb", filters=window) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        for path in [*sorted(set(folder.iterdir()) - set(last)), *last]:
            archive.add(path, path.name)


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
        checks = write_checks(folder, gpu.arch)
        networks = [write_network(folder, name, gpu.arch) for name in options.networks]
        facts = {"arch": gpu.arch, "cuda": CUDA, "gpu": dataclasses.asdict(gpu), "checks": checks, "networks": networks}
        (folder / "bundle.json").write_text(json.dumps(facts))
        write_runtime(folder, options.python)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        unpacked = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        pack(folder, [one["file"] for one in networks], options.output)
    print(f"{options.output.name}: {options.output.stat().st_size / 1e6:.1f} MB, unpacked {unpacked / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
