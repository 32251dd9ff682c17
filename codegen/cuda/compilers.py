"""Compilers of CUDA C++: nvcc, or where it is missing NVRTC, which is a library and compiles kernels alone.

Both give the same kernels for the same architecture, as machine code and not as PTX, so that a library loads on the
same GPUs whichever made it. What nvcc compiles besides, the calls of the kernels, the C++ compiler of this machine
compiles for NVRTC; kernels are then launched through the driver (templates/driver.hpp).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tvm.support import cc

from espalier.core.errors import ToolNotFoundError

from .toolchain import cause_of, find_tool, header_folders, run_program, run_tool

NVRTC_INSTALL = 'pip install "espalier[nvrtc]"'
ENTRY = re.compile(r"Compiling entry function '(_ZN8espalier(\d+)(\w+))'")
"""In ptxas's output, a kernel of namespace espalier: its mangled name, and its name behind the name's length."""
HEADERS_OF_TVM = """#include <cuda/std/cstdint>
#include <cuda/std/limits>
using cuda::std::int8_t, cuda::std::int16_t, cuda::std::int32_t, cuda::std::int64_t;
using cuda::std::uint8_t, cuda::std::uint16_t, cuda::std::uint32_t, cuda::std::uint64_t;
#define INFINITY (cuda::std::numeric_limits<float>::infinity())
"""
"""What the CUDA C++ that TVM generates expects of a host compiler's headers."""


class CudaCompiler(Protocol):
    """name: with the version, on which what it makes depends. image_format: what TVM calls its images."""

    name: str
    image_format: str

    def compile_object(self, file: Path, arch: str, includes: Sequence[str], output: Path, has_kernels: bool) -> str:
        """Write an object file of a C++ file, and return what was printed, registers of each kernel included."""

    def compile_image(self, file: Path, arch: str, output: Path) -> str:
        """Write the machine code of the kernels that TVM generated, and return what was printed."""

    def link(self, output: str, inputs: Sequence[str]) -> None:
        """Write a shared library that needs TVM's runtime and the driver, and no other part of CUDA."""


class Nvcc:
    """NVIDIA's compiler; CUDA's own runtime is linked in."""

    image_format = "fatbin"

    def __init__(self):
        found = re.search(r"\bV(\d+(\.\d+)+)", run_tool("nvcc", "--version"))
        self.name = f"nvcc {found.group(1) if found else 'unknown'}"

    def compile_object(self, file: Path, arch: str, includes: Sequence[str], output: Path, has_kernels: bool) -> str:
        options = ("-std=c++17", "-O3", "-Xptxas", "-v", "-Xcompiler", "-fPIC", *_arch_options(arch))
        return run_tool("nvcc", *options, *_included(includes), "-c", str(file), "-o", str(output))

    def compile_image(self, file: Path, arch: str, output: Path) -> str:
        return run_tool("nvcc", "-std=c++17", "-O3", "--fatbin", *_arch_options(arch), str(file), "-o", str(output))

    def link(self, output: str, inputs: Sequence[str]) -> None:
        run_tool("nvcc", "-shared", "-cudart", "static", "-Xcompiler", "-fPIC", "-o", output, *inputs)


class Nvrtc:
    """NVIDIA's compiler of kernels as a library, through its own Python bindings."""

    image_format = "cubin"

    def __init__(self):
        from cuda.bindings import nvrtc

        self.nvrtc = nvrtc
        self.name = "NVRTC {}.{}".format(*self._call("nvrtcVersion"))

    def compile_object(self, file: Path, arch: str, includes: Sequence[str], output: Path, has_kernels: bool) -> str:
        log, macros = "", []
        if has_kernels:
            image, log = self.compiled(file.read_text(), arch, includes)
            numbers = file.with_suffix(".image")
            numbers.write_text(",".join(map(str, image)))
            entries = (f'{{"{rest[: int(size)]}","{whole}"}}' for whole, size, rest in ENTRY.findall(log))
            macros = [f'-DESPALIER_IMAGE="{numbers}"', f"-DESPALIER_ENTRIES={','.join(entries)}"]
        options = ("-x", "c++", "-std=c++17", "-O2", "-fPIC", *macros, *_included(includes))
        run_program("the C++ compiler", cpp(), *options, "-c", str(file), "-o", str(output))
        return log

    def compile_image(self, file: Path, arch: str, output: Path) -> str:
        image, log = self.compiled(HEADERS_OF_TVM + file.read_text(), arch, ())
        output.write_bytes(image)
        return log

    def link(self, output: str, inputs: Sequence[str]) -> None:
        run_program("the C++ compiler", cpp(), "-shared", "-fPIC", "-o", output, *inputs, "-ldl")

    def compiled(self, source: str, arch: str, includes: Sequence[str]) -> tuple[bytes, str]:
        """Machine code of kernels and ptxas's output; ToolNotFoundError with the line that says why there is none."""
        options = ["--std=c++17", f"--gpu-architecture={arch}", "--ptxas-options=-v"]
        options += _included([*includes, *map(str, header_folders())])
        (program,) = self._call("nvrtcCreateProgram", source.encode(), b"kernels.cu", 0, None, None)
        try:
            (status,) = self.nvrtc.nvrtcCompileProgram(program, len(options), [one.encode() for one in options])
            log = self._text("nvrtcGetProgramLog", program).rstrip(b"\0").decode()
            if status:
                raise ToolNotFoundError(f"NVRTC failed: {cause_of(log) or status.name}")
            return self._text("nvrtcGetCUBIN", program), log
        finally:
            self.nvrtc.nvrtcDestroyProgram(program)

    def _text(self, function: str, program) -> bytes:
        (size,) = self._call(f"{function}Size", program)
        content = bytearray(size)
        self._call(function, program, content)
        return bytes(content)

    def _call(self, function: str, *arguments) -> tuple:
        """What a function returns besides its status."""
        status, *results = getattr(self.nvrtc, function)(*arguments)
        if status:
            raise ToolNotFoundError(f"NVRTC failed: {function} gave {status.name}")
        return tuple(results)


@functools.cache
def compiler() -> CudaCompiler:
    """nvcc if there is one, else NVRTC; ToolNotFoundError with the install commands if there is neither."""
    try:
        find_tool("nvcc")
    except ToolNotFoundError as missing:
        return _nvrtc(missing)
    return Nvcc()


def _nvrtc(missing: ToolNotFoundError) -> Nvrtc:
    try:
        return Nvrtc()
    except (ImportError, RuntimeError) as error:  # RuntimeError: the bindings are there and the library is not
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ToolNotFoundError(f"{missing}; nor is there NVRTC ({reason}): {NVRTC_INSTALL}") from None


def cpp() -> str:
    """The C++ compiler of this machine; ToolNotFoundError if there is none."""
    found = cc.get_cc()
    if not found:
        raise ToolNotFoundError("a C++ compiler is needed to build for a GPU, and none was found: install g++")
    return found


def _arch_options(arch: str) -> tuple[str, ...]:
    """nvcc's options for machine code of one architecture; the long form, because the short one adds other passes."""
    return ("-gencode", f"arch={arch.replace('sm_', 'compute_')},code={arch}")


def _included(folders: Sequence[str]) -> list[str]:
    return [f"-I{folder}" for folder in folders]
