"""CUDA kernels on this machine: their templates compiled by a C++ compiler, every thread a coroutine."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import tvm
import tvm_ffi
from tvm import relax
from tvm.target import Target

from espalier.codegen.cuda.generate import lowered_on
from espalier.codegen.cuda.kernel_objects import TEMPLATES, Variant, include_folders
from espalier.codegen.phases import loops_phase, machine_phase
from espalier.targets.cpu import host_cpu

FOLDER = Path(tempfile.gettempdir()) / f"espalier-emulated-{os.getuid()}"
"""Shared by the processes of a test run, and by runs of the same sources."""
ORDERS = (0, 1, 2)
"""Of templates/emulation.hpp: in which order blocks, warps, threads and copies take turns."""


@functools.cache
def library_of(*variants: Variant, templates: Path = TEMPLATES) -> Path:
    """The shared library of variants, emulated. templates: another folder in the place of that of the package."""
    sources = b"".join(path.read_bytes() for path in sorted(templates.iterdir()))
    key = hashlib.sha256("".join(one.source for one in variants).encode() + sources).hexdigest()
    library = FOLDER / f"{key}.so"
    if not library.exists():
        FOLDER.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            fresh, files = Path(folder) / "fresh.so", []
            for number, one in enumerate(variants):
                files.append(str(Path(folder) / f"kernels{number}.cc"))
                Path(files[-1]).write_text(one.source)
            includes = [text for one in (str(templates), *include_folders()[1:]) for text in ("-I", one)]
            options = [
                "-std=c++17",
                "-O2",
                "-march=native",
                "-fno-strict-aliasing",
                "-U_FORTIFY_SOURCE",
                "-fPIC",
                "-shared",
            ]
            subprocess.run(["g++", *options, *includes, *files, "-o", str(fresh)], check=True)
            os.replace(fresh, library)
    return library


@functools.cache
def function_of(variant: Variant, templates: Path = TEMPLATES):
    """The variant's function, for numbers and CPU tensors."""
    return tvm.runtime.load_module(str(library_of(variant, templates=templates)))[variant.name]


def linked(*variants: Variant) -> tvm.runtime.Module:
    """A library whose variants call each other."""
    return tvm.runtime.load_module(str(library_of(*variants)))


def call(variant: Variant, numbers, inputs, outputs, templates: Path = TEMPLATES) -> list[np.ndarray]:
    """The outputs (shape, dtype) after a call; they are not zero before. Counters are passed as inputs.

    AssertionError if they depend on the order in which threads take turns: then one does not wait for another.
    """
    choose = ctypes.CDLL(str(library_of(variant, templates=templates))).espalier_emulated_order
    results = []
    for order in ORDERS:
        choose(order)
        results.append(_outputs_of(function_of(variant, templates), numbers, inputs, outputs))
        for first, other in zip(results[0], results[-1], strict=True):
            np.testing.assert_array_equal(other, first, err_msg=f"{variant.name} in order {order}")
    return results[0]


def _outputs_of(function, numbers, inputs, outputs) -> list[np.ndarray]:
    made = [tvm.runtime.tensor(np.full(shape, 113, dtype)) for shape, dtype in outputs]
    given = [one if isinstance(one, tvm.runtime.Tensor) else tvm.runtime.tensor(one) for one in inputs]
    function(*numbers, *given, *made)
    return [one.numpy() for one in made]


def run_network(mod: tvm.IRModule, gpu, *inputs: np.ndarray) -> list[np.ndarray]:
    """What a lowered module gives when its kernels are emulated, and the rest runs as TVM compiles it for this CPU."""
    mod, emitted = lowered_on(mod, gpu)
    for variant in emitted.variants.values():
        tvm_ffi.register_global_func(variant.name, function_of(variant), override=True)
    target = Target({"kind": "llvm", "mcpu": host_cpu()})
    with target:
        mod = tvm.transform.Sequential(loops_phase())(mod)
    phases = tvm.transform.Sequential(machine_phase())
    machine = relax.VirtualMachine(tvm.compile(mod, target, relax_pipeline=phases), tvm.cpu())
    results = machine["main"](*map(tvm.runtime.tensor, inputs))
    return [results.numpy()] if isinstance(results, tvm.runtime.Tensor) else [result.numpy() for result in results]
