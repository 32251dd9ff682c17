"""NVIDIA GPUs: what each architecture has, as data, and the devices that have a target tag of their own.

Building for a GPU never touches one: all that a build reads is here. Figures of a compute capability are from the CUDA
C++ Programming Guide 13.0, section "Compute Capabilities" (tables of technical specifications); those of a device from
its white paper or data sheet, named beside each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import tvm
from tvm.target import Target

from espalier.core.errors import UnsupportedTargetError


@dataclass(frozen=True)
class Gpu:
    """A GPU as kernels and predictions see it.

    arch: what nvcc calls it, such as "sm_90a". device: whose figures these are. source: where they are from.
    names: what its driver and target tags call it; other GPUs of the architecture have other figures.
    sms: streaming multiprocessors. shared_bytes: of one SM, that blocks can use; block_shared_bytes: of one block.
    registers, warps, blocks: that one SM holds at a time. clock_hz: the boost clock.
    bandwidth_bytes_s: of device memory. l2_bytes: of the L2 cache.
    tensor_macs: dense multiply-accumulates of one SM in one clock, by number format; a format without an entry has no
        tensor-core instruction. float32_macs: those of the ordinary cores.
    """

    arch: str
    device: str
    source: str
    names: tuple[str, ...]
    sms: int
    shared_bytes: int
    block_shared_bytes: int
    registers: int
    warps: int
    blocks: int
    clock_hz: float
    bandwidth_bytes_s: float
    l2_bytes: int
    tensor_macs: Mapping[str, int]
    float32_macs: int

    @property
    def capability(self) -> tuple[int, int]:
        """The compute capability, such as (9, 0)."""
        digits = self.arch.removeprefix("sm_").rstrip("af")
        return int(digits[:-1]), int(digits[-1])

    @property
    def copies_async(self) -> bool:
        """Whether data goes to shared memory without passing through registers: since 8.0."""
        return self.capability >= (8, 0)

    @property
    def formats(self) -> tuple[str, ...]:
        """The number formats of layers that kernels of ours compute: those of the tensor cores, and float32 by tf32."""
        own = [one for one in ("float16", "tfloat32", "int8") if one in self.tensor_macs]
        return (*own, *(["float32"] if "tfloat32" in own else []))

    def peak_macs_s(self, number_format: str) -> float:
        """Multiply-accumulates per second in a format, "dp4a" included; of the ordinary cores if there is no tensor
        instruction."""
        macs = {"dp4a": DP4A_MACS, **self.tensor_macs}
        return self.sms * self.clock_hz * macs.get(number_format, self.float32_macs)


DP4A_MACS = 256
"""Of one SM in one clock: 64 instructions of four products ("Arithmetic Instructions", 7.5 to 9.0)."""


KIB, MIB = 1 << 10, 1 << 20

_H100 = Gpu(
    "sm_90a",
    "H100-SXM5-80GB",
    "NVIDIA H100 Tensor Core GPU Architecture white paper, tables 1 and 4; H100 data sheet",
    ("NVIDIA H100 80GB HBM3", "nvidia/nvidia-h100"),
    sms=132,
    shared_bytes=228 * KIB,
    block_shared_bytes=227 * KIB,
    registers=65536,
    warps=64,
    blocks=32,
    clock_hz=1.83e9,
    bandwidth_bytes_s=3350e9,
    l2_bytes=50 * MIB,
    tensor_macs={"float16": 2048, "bfloat16": 2048, "tfloat32": 1024, "int8": 4096},
    float32_macs=128,
)

GPUS = (
    Gpu(
        "sm_75",
        "Tesla T4",
        "NVIDIA Turing GPU Architecture white paper, appendix B; T4 data sheet",
        ("Tesla T4", "nvidia/nvidia-t4"),
        sms=40,
        shared_bytes=64 * KIB,
        block_shared_bytes=64 * KIB,
        registers=65536,
        warps=32,
        blocks=16,
        clock_hz=1.59e9,
        bandwidth_bytes_s=320e9,
        l2_bytes=4 * MIB,
        tensor_macs={"float16": 512, "int8": 1024},
        float32_macs=64,
    ),
    Gpu(
        "sm_80",
        "A100-SXM4-80GB",
        "NVIDIA A100 Tensor Core GPU Architecture white paper, tables 1 and 4; A100 80GB data sheet",
        ("NVIDIA A100-SXM4-80GB", "nvidia/nvidia-a100"),
        sms=108,
        shared_bytes=164 * KIB,
        block_shared_bytes=163 * KIB,
        registers=65536,
        warps=64,
        blocks=32,
        clock_hz=1.41e9,
        bandwidth_bytes_s=2039e9,
        l2_bytes=40 * MIB,
        tensor_macs={"float16": 1024, "bfloat16": 1024, "tfloat32": 512, "int8": 2048},
        float32_macs=64,
    ),
    Gpu(
        "sm_86",
        "A10",
        "NVIDIA Ampere GA102 GPU Architecture white paper, appendix A; A10 data sheet",
        ("NVIDIA A10", "nvidia/nvidia-a10"),
        sms=72,
        shared_bytes=100 * KIB,
        block_shared_bytes=99 * KIB,
        registers=65536,
        warps=48,
        blocks=16,
        clock_hz=1.695e9,
        bandwidth_bytes_s=600e9,
        l2_bytes=6 * MIB,
        tensor_macs={"float16": 512, "bfloat16": 512, "tfloat32": 256, "int8": 1024},
        float32_macs=128,
    ),
    Gpu(
        "sm_89",
        "L4",
        "NVIDIA Ada GPU Architecture white paper, appendix A; L4 data sheet",
        ("NVIDIA L4", "nvidia/nvidia-l4"),
        sms=58,
        shared_bytes=100 * KIB,
        block_shared_bytes=99 * KIB,
        registers=65536,
        warps=48,
        blocks=24,
        clock_hz=2.04e9,
        bandwidth_bytes_s=300e9,
        l2_bytes=48 * MIB,
        tensor_macs={"float16": 512, "bfloat16": 512, "tfloat32": 256, "int8": 1024},
        float32_macs=128,
    ),
    _H100,
    dataclasses.replace(
        _H100,
        device="H200-SXM-141GB",
        source="H200 data sheet (141 GB of HBM3e at 4.8 TB/s); SMs as an H100's; the clock is the highest that its "
        "driver reports, 1,980 MHz: the data sheet's peaks are those of an H100 at 1,830 MHz",
        names=("NVIDIA H200", "nvidia/nvidia-h200"),
        clock_hz=1.98e9,
        bandwidth_bytes_s=4800e9,
    ),
)
"""The first device of an architecture stands for those that are not known here."""

ARCHS = tuple(dict.fromkeys(gpu.arch for gpu in GPUS))
SAME_CODE = {"sm_90": "sm_90a"}
"""Architectures under which the same device is also known."""
ACCEPTED = 'accepted are "nvidia/nvidia-h100", other tags of TVM, and {"kind": "cuda", "arch": ...} with an arch '
ACCEPTED += f"of {', '.join(ARCHS)}"


def cuda_target(options: Mapping) -> Target:
    """A CUDA target with its architecture named; without "arch" it is the GPU that is present.

    "model" names the GPU, as its driver or a tag does; without it the first one of the architecture is meant.
    Raises UnsupportedTargetError if there is none, or if the architecture is not one of `ARCHS`.
    """
    if not options.get("arch"):
        options = {**options, **_present()}
    arch = str(options["arch"])
    arch = SAME_CODE.get(arch, arch)
    if arch not in ARCHS:
        raise UnsupportedTargetError(f"target cuda: got the arch {arch!r}, {ACCEPTED}")
    kept = {key: value for key, value in options.items() if key in KEPT_OPTIONS}
    if kept.get("model") in gpu_of_arch(arch).names:
        del kept["model"]
    try:
        return Target({**TVM_LIMITS, **kept, "kind": "cuda", "arch": arch})
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "refused")
        raise UnsupportedTargetError(f"target {dict(options)}: {reason}") from None


KEPT_OPTIONS = ("model", "max_num_threads", "registers_per_block", "l2_cache_size_bytes")
"""Of TVM's tags; the others follow from the architecture."""
TVM_LIMITS = {"thread_warp_size": 32, "max_threads_per_block": 1024, "max_shared_memory_per_block": 48 * KIB}
"""For TVM's own schedules: what every architecture gives to a block that asks for nothing special."""


def tagged_options(tag: str) -> dict:
    """The options behind a tag of TVM such as "nvidia/nvidia-h100".

    Raises UnsupportedTargetError if TVM knows no such tag, or if it is for no GPU with CUDA.
    """
    own = next((gpu for gpu in GPUS if tag in gpu.names), None)
    try:
        target = Target(tag)
    except (ValueError, TypeError, RuntimeError, AttributeError):
        if own is None:
            raise UnsupportedTargetError(f"target {tag!r}: TVM knows no such tag, {ACCEPTED}") from None
        return {"kind": "cuda", "arch": own.arch, "model": tag}
    return {"kind": str(target.kind.name), **{str(key): value for key, value in target.attrs.items()}, "model": tag}


def gpu_of(target: Target) -> Gpu:
    """The data of a target made by `cuda_target`."""
    return gpu_called(str(target.attrs["arch"]), target.attrs.get("model"))


def gpu_of_arch(arch: str) -> Gpu:
    """The data of an architecture of `ARCHS`."""
    return next(gpu for gpu in GPUS if gpu.arch == arch)


def gpu_called(arch: str, model: str | None) -> Gpu:
    """The data of a GPU; one that is not known has the figures of another of its architecture, and `device` says so.

    model: as in `cuda_target`.
    """
    stand_in = gpu_of_arch(arch)
    if model is None:
        return stand_in
    known = (gpu for gpu in GPUS if gpu.arch == arch and str(model) in gpu.names)
    return next(known, dataclasses.replace(stand_in, device=f"{model} (with the figures of {stand_in.device})"))


def _present() -> dict[str, str]:
    """The options of the GPU of this machine."""
    device = tvm.cuda(0)
    if not device.exist:
        raise UnsupportedTargetError(f"target cuda: it means the GPU of this machine and none was found; {ACCEPTED}")
    return {"arch": "sm_" + str(device.compute_version).replace(".", ""), "model": str(device.device_name)}
