"""What the time of a kernel depends on besides the kernel: the machine, the compiler, and our kernels' sources."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata
from pathlib import Path

import tvm

from espalier.build_key import sources_digest
from espalier.codegen import cuda
from espalier.codegen.cpu import kernels
from espalier.core.records import MACHINE

CPU_INFO = Path("/proc/cpuinfo")


@cache
def record_environment(machine: str = "", kind: str = "llvm") -> dict[str, str]:
    """The environment of records that are measured here, or on another machine that the user calls `machine`.

    kind: of the target. The machine of GPU kernels is the GPU, where there is one.
    """
    on_gpu = kind == "cuda"
    sources = sources_digest([Path((cuda if on_gpu else kernels).__file__).parent])
    return {
        MACHINE: machine or (gpu_model() if on_gpu else None) or cpu_model(),
        "compiler": f"TVM {tvm.__version__}, LLVM {tvm.target.codegen.llvm_version_major()}",
        "espalier": f"{metadata.version('espalier')}+{sources[:8]}",
    }


def gpu_model() -> str | None:
    """What the GPU of this machine calls itself; None without one."""
    device = tvm.cuda(0)
    return str(device.device_name) if device.exist else None


def cpu_model() -> str:
    """What the CPU calls itself, as far as the system tells, and LLVM's name of it."""
    llvm_name = str(tvm.target.codegen.llvm_get_system_cpu())
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} ({llvm_name})"
