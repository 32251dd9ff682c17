"""The GPU of this machine: whether there is one, and whether it can run a program."""

from __future__ import annotations

import ctypes

import tvm

from espalier.core.errors import UnsupportedTargetError
from espalier.targets.gpu import gpu_of_arch

CUDA_VERSION = 13000
"""What the wheel's CUDA runtime and our nvcc belong to, as cuDriverGetVersion counts: 13.0."""
DRIVER = "580"
"""The first series of NVIDIA's driver for it (CUDA Toolkit 13.0 release notes, table 2)."""


def require_device(arch: str) -> tvm.runtime.Device:
    """The GPU, if it runs code for `arch`.

    Raises UnsupportedTargetError if there is no driver, an older one, no GPU, or one of another architecture.
    """
    _require_driver()
    device = tvm.cuda(0)
    if not device.exist:
        raise UnsupportedTargetError(
            f"the artifact is for a GPU ({arch}): TVM sees none; nvidia-smi should list one, and CUDA's runtime has to "
            'be installed (pip install "espalier[cuda]")'
        )
    present = tuple(int(part) for part in str(device.compute_version).split("."))
    if not runs_on(arch, present):
        raise UnsupportedTargetError(
            f"the artifact was compiled for {arch} and this GPU, {device.device_name}, is "
            f"sm_{present[0]}{present[1]}; compile the model for it"
        )
    return device


def runs_on(arch: str, present: tuple[int, int]) -> bool:
    """Whether machine code for `arch` runs on a GPU of this compute capability.

    Machine code runs on its own and on later minor versions of the same major one; with the suffix "a" on its own only
    (CUDA C++ Programming Guide, "Architecture-specific features").
    """
    built = gpu_of_arch(arch).capability
    return present == built if arch.endswith("a") else present[0] == built[0] and present[1] >= built[1]


def _require_driver() -> None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise UnsupportedTargetError("the artifact is for a GPU and NVIDIA's driver was not found here") from None
    version = ctypes.c_int(0)
    driver.cuDriverGetVersion(ctypes.byref(version))
    if version.value < CUDA_VERSION:
        raise UnsupportedTargetError(
            f"the artifact needs NVIDIA's driver {DRIVER} or newer (CUDA {_text(CUDA_VERSION)}), this one is for CUDA "
            f"{_text(version.value)}"
        )


def _text(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
