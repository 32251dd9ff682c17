"""What a build depends on, as one number: equal keys mean equal programs.

The key covers the module with its weights, the plan, the calibration, the target, known times of kernels, TVM's pass
context, and the versions of TVM and of Espalier's own sources. Whatever else a build comes to read has to be added
here.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tvm
import tvm_ffi
from tvm import relax
from tvm.target import Target

from . import codegen, passes
from .codegen.cuda.compilers import compiler
from .core.calibration import Calibration, digest
from .core.choices import KernelTimes
from .core.plan import Plan

NO_SOURCES = (".pyc", ".onnx", ".npz")
"""Files of the package that no build reads: compiled ones and bundled data."""


def build_key(
    mod: tvm.IRModule,
    target: Target,
    plan: Plan,
    calibration: Calibration,
    lower: bool,
    times: KernelTimes | None = None,
    compress: bool = False,
) -> str:
    """SHA-256 over all that a build depends on, as 64 hexadecimal digits; 0.05 s for 47 MB of weights."""
    context, (fitted, arrays) = tvm.transform.PassContext.current(), calibration.content()
    header = {
        "module": mod.script(show_meta=False),
        "structure": tvm_ffi.structural_hash(mod),  # exact floats, which the text rounds
        "names": _names(mod),  # where the text has underscores in the place of dots
        "plan": plan.to_dict(),
        "calibration": [fitted, digest(arrays)],
        "target": str(target),
        "lower": lower,
        "times": times and times.digest(),
        "compress": compress,
        "context": [
            context.opt_level,
            [str(name) for name in context.required_pass],
            [str(name) for name in context.disabled_pass],
            {str(name): str(value) for name, value in context.config.items()},
        ],
        "cuda_compiler": compiler().name if str(target.kind.name) == "cuda" else None,
        "versions": [tvm.__version__, tvm_ffi.__version__, platform.machine(), platform.system(), SOURCES],
    }
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for constant in _constants(mod):
        sha.update(str(constant.ty).encode())
        sha.update(np.ascontiguousarray(constant.value.numpy()).view(np.uint8))
    return sha.hexdigest()


def may_be_kept(mod: tvm.IRModule, largest_bytes: int) -> bool:
    """Whether a program with the module's weights is small enough, and nobody watches how it is built."""
    size = sum(math.prod(one.value.shape) * np.dtype(str(one.value.dtype)).itemsize for one in _constants(mod))
    return size <= largest_bytes and not tvm.transform.PassContext.current().instruments


def _constants(mod: tvm.IRModule) -> list:
    return [expr for expr in _expressions(mod) if isinstance(expr, tvm.ir.GenericConst)]


def _names(mod: tvm.IRModule) -> list[str]:
    return [expr.name for expr in _expressions(mod) if isinstance(expr, relax.Var)]


def _expressions(mod: tvm.IRModule) -> list[relax.Expr]:
    found: list[relax.Expr] = []
    for var in sorted(mod.functions, key=lambda var: var.name_hint):
        if isinstance(mod[var], relax.Function):
            relax.analysis.post_order_visit(mod[var], found.append)
    return found


def sources_digest(folders: Iterable[Path]) -> str:
    """SHA-256 over the names and contents of the files that a build may read."""
    sha = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in NO_SOURCES:
                content = path.read_bytes()
                sha.update(f"{path.relative_to(folder).as_posix()} {len(content)};".encode() + content)
    return sha.hexdigest()


SOURCES = sources_digest(Path(package).parent for package in (__file__, passes.__file__, codegen.__file__))
"""Taken while the sources are imported: an edit that comes later is not what this process runs."""
