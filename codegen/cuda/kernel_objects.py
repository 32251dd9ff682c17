"""Compiled kernels: one object file for each variant of a template, kept under what it depends on."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tvm
import tvm_ffi

from espalier.core.cache_folder import cache_folder

from .compilers import compiler, cpp
from .toolchain import run_program

TEMPLATES = Path(__file__).parent / "templates"
NAME = "ESPALIER_NAME"
HELPER = "compiled_module.cpp"


@dataclass(frozen=True)
class Variant:
    """One function of a library: a template with its macros set.

    template: a file under templates/. name: of the function, as the program calls it. macros: name and text, in order.
    kernel: the C++ name of its main kernel. threads: of a block. shared_bytes: dynamic shared memory of a block.
    """

    template: str
    name: str
    macros: tuple[tuple[str, str], ...] = ()
    kernel: str = field(default="", kw_only=True)
    threads: int = field(default=0, kw_only=True)
    shared_bytes: int = field(default=0, kw_only=True)

    @property
    def source(self) -> str:
        """A C++ file that includes the template."""
        lines = [f"#define {macro} {text}" for macro, text in (*self.macros, (NAME, self.name))]
        return "\n".join([*lines, f'#include "{self.template}"', ""])


@dataclass(frozen=True)
class KernelUsage:
    """What ptxas says of a compiled kernel: registers of a thread, spilled bytes, static shared memory in bytes."""

    registers: int
    spill_bytes: int
    static_shared_bytes: int


def include_folders() -> tuple[str, ...]:
    """Where the templates and the headers of TVM's calling convention are."""
    return str(TEMPLATES), tvm_ffi.libinfo.find_include_path(), tvm_ffi.libinfo.find_dlpack_include_path()


def object_of(variant: Variant, arch: str) -> Path:
    """The variant's object file, compiled unless it was before.

    Raises ToolNotFoundError if no compiler is there or it fails.
    """

    def compile_file(file: Path, fresh: Path) -> str:
        return compiler().compile_object(file, arch, include_folders(), fresh, has_kernels=bool(variant.kernel))

    return _compiled(variant.source, arch, ".o", compile_file)


def image_of(code: str, arch: str) -> bytes:
    """Machine code of CUDA C++ that TVM generated."""
    path = _compiled(code, arch, ".image", lambda file, fresh: compiler().compile_image(file, arch, fresh))
    return path.read_bytes()


def with_machine_code(module: tvm.runtime.Module, arch: str) -> None:
    """Compile what modules of TVM's kernels among the imports hold as source, so that no other machine has to."""
    imports = list(module.imports)
    for one in imports:
        with_machine_code(one, arch)
    if any(one.kind == "cuda" for one in imports):
        module.clear_imports()
        for one in imports:
            module.import_module(_compiled_module(one, arch) if one.kind == "cuda" else one)


def _compiled_module(module: tvm.runtime.Module, arch: str) -> tvm.runtime.Module:
    image = image_of(module.inspect_source("cuda"), arch)
    return _helper()["with_machine_code"](module, image, compiler().image_format)


@functools.cache
def _helper() -> tvm.runtime.Module:
    """templates/compiled_module.cpp as a library."""

    def compile_file(file: Path, fresh: Path) -> str:
        includes = [f"-I{folder}" for folder in include_folders()]
        options = ("-x", "c++", "-std=c++17", "-O1", "-fPIC", "-shared", *includes)
        return run_program("the C++ compiler", cpp(), *options, str(file), "-o", str(fresh))

    return tvm_ffi.load_module(str(_compiled((TEMPLATES / HELPER).read_text(), "", ".so", compile_file)))


def usage_of(variant: Variant, arch: str) -> dict[str, KernelUsage]:
    """What each kernel of the variant uses, by its mangled name."""
    return usages_in(object_of(variant, arch).with_suffix(".log").read_text())


def usages_in(log: str) -> dict[str, KernelUsage]:
    """What each kernel uses, by its mangled name, from what `ptxas -v` prints."""
    found = {}
    for block in re.split(r"Compiling entry function '", log)[1:]:
        spills = re.search(r"(\d+) bytes spill stores", block)
        registers, shared = re.search(r"Used (\d+) registers", block), re.search(r"(\d+) bytes smem", block)
        numbers = (int(one.group(1)) if one else 0 for one in (registers, spills, shared))
        found[block.split("'")[0]] = KernelUsage(*numbers)
    return found


def main_usage(variant: Variant, arch: str) -> KernelUsage:
    """What the variant's main kernel uses."""
    return next(
        usage for name, usage in usage_of(variant, arch).items() if f"{len(variant.kernel)}{variant.kernel}" in name
    )


def static_libraries(variants: Sequence[Variant], arch: str) -> list[tvm.runtime.Module]:
    """The variants as modules that TVM links into what it exports."""
    return [tvm.runtime.load_static_library(str(object_of(one, arch)), [one.name]) for one in variants]


def link(output: str, objects: Sequence[str], options: Sequence[str] | None = None, **_unused) -> None:
    """Link a shared library that needs only the driver to run it."""
    compiler().link(output, [*objects, *(options or [])])


def _compiled(source: str, arch: str, suffix: str, compile_file: Callable[[Path, Path], str]) -> Path:
    """What a compiler makes of a C++ file, with what it printed beside it; both appear whole.

    compile_file: from the source file to a fresh file; returns what was printed.
    """
    folder = _folder()
    stem = folder / _key(source, arch, suffix)
    result = stem.with_suffix(suffix)
    if not result.is_file():
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            file, fresh, log = (Path(temporary) / name for name in ("kernels.cu", f"fresh{suffix}", "log"))
            file.write_text(source)
            log.write_text(compile_file(file, fresh))
            os.replace(log, stem.with_suffix(".log"))
            os.replace(fresh, result)
    return result


def _key(*depends_on: str) -> str:
    sha = hashlib.sha256("\n".join([*depends_on, compiler().name, tvm_ffi.__version__]).encode())
    for name, content in sorted(_sources().items()):
        sha.update(name.encode() + content)
    return sha.hexdigest()


@functools.cache
def _sources() -> Mapping[str, bytes]:
    """The templates, and the options of the compilers."""
    paths = [*TEMPLATES.iterdir(), Path(__file__).with_name("compilers.py")]
    return {path.name: path.read_bytes() for path in paths}


def _folder() -> Path:
    kept = cache_folder()
    if kept is None:
        return _temporary_folder()
    kept = kept / "kernels"
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)  # what lies there is run: nobody else may write
    return kept


@functools.cache
def _temporary_folder() -> Path:
    """For as long as this process runs."""
    folder = tempfile.TemporaryDirectory(prefix="espalier-kernels-")
    _ALIVE.append(folder)
    return Path(folder.name)


_ALIVE: list[tempfile.TemporaryDirectory] = []
