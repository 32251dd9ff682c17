"""Loads a program's library as a machine does that has TVM's runtime for CUDA and no compiler of it: LIBRARY CUDART.

Prints the kinds of the modules in it. To be run as a process of its own, with a stand-in for the driver.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import tvm
import tvm_ffi


def no_compiler(code):
    raise RuntimeError("this machine cannot compile")


def main(library: str, cudart: str) -> None:
    ctypes.CDLL(cudart, ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(Path(tvm.__file__).parent / "lib" / "libtvm_runtime_cuda.so"))
    tvm_ffi.register_global_func("tvm_callback_cuda_compile", no_compiler, override=True)
    module, kinds = tvm.runtime.load_module(library), []
    while module:
        kinds.append(module.kind)
        module = next(iter(module.imports), None)
    print(*kinds, sep="\n")


main(*sys.argv[1:])
