"""CUDA kernels on this machine: their templates compiled by a C++ compiler, every thread a coroutine."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import tvm

from espalier.codegen.cuda.kernel_objects import TEMPLATES, Variant, include_folders

FOLDER = Path(tempfile.gettempdir()) / f"espalier-emulated-{os.getuid()}"
"""Shared by the processes of a test run, and by runs of the same sources."""


@functools.cache
def library_of(variant: Variant) -> Path:
    """The variant's shared library, emulated."""
    sources = b"".join(path.read_bytes() for path in sorted(TEMPLATES.iterdir()))
    key = hashlib.sha256(variant.source.encode() + sources).hexdigest()
    library = FOLDER / f"{key}.so"
    if not library.exists():
        FOLDER.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            source, fresh = Path(folder) / "kernels.cc", Path(folder) / "fresh.so"
            source.write_text(variant.source)
            includes = [text for one in include_folders() for text in ("-I", one)]
            options = ["-std=c++17", "-O2", "-march=native", "-fno-strict-aliasing", "-fPIC", "-shared"]
            subprocess.run(["g++", *options, *includes, str(source), "-o", str(fresh)], check=True)
            os.replace(fresh, library)
    return library


@functools.cache
def function_of(variant: Variant):
    """The variant's function, for numbers and CPU tensors."""
    return tvm.runtime.load_module(str(library_of(variant)))[variant.name]


def call(variant: Variant, numbers, inputs, outputs) -> list[np.ndarray]:
    """The outputs (shape, dtype) after a call; they are not zero before. Counters are passed as inputs."""
    made = [tvm.runtime.tensor(np.full(shape, 113, dtype)) for shape, dtype in outputs]
    given = [one if isinstance(one, tvm.runtime.Tensor) else tvm.runtime.tensor(one) for one in inputs]
    function_of(variant)(*numbers, *given, *made)
    return [one.numpy() for one in made]
