"""An IRModule of Espalier operators and stock Relax becomes a program for a GPU; no GPU is needed for it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import tvm
import tvm_ffi
from tvm.s_tir import dlight
from tvm.target import Target

from espalier.core.choices import KernelTimes
from espalier.core.errors import UnsupportedTargetError
from espalier.ir.dataflow import Dataflow
from espalier.ir.rewriting import remarks_of
from espalier.targets.gpu import Gpu, gpu_of

from ..phases import dispatch_phase, loops_phase, machine_phase
from .c_names import NamesForC
from .compilers import compiler
from .fold_strides import FoldStrides
from .kernel_objects import image_of, main_usage, static_libraries, with_machine_code
from .known_schedules import KnownSchedules
from .launches import KernelLaunch
from .lower import LowerOnCuda
from .lower_layers import Emitted
from .program import CudaProgram

EXTERNAL = "external_mods"
"""TVM's module attribute for what is linked into the program."""
COMPILE = "tvm_callback_cuda_compile"
"""TVM's global function from CUDA C++ to machine code."""
GRAPHS = "relax.backend.use_cuda_graph"
"""TVM's key, without which RewriteCUDAGraph does nothing."""


def generate(
    mod: tvm.IRModule, target: Target, lower: bool = True, times: KernelTimes | None = None, compress: bool = False
) -> CudaProgram:
    """Compile `mod`; without `lower` every operator runs as its reference body. times: what is known of kernels.

    Raises ToolNotFoundError if no compiler is there or it fails, UnsupportedTargetError for a compressed program.
    """
    if compress:
        raise UnsupportedTargetError("compress: weights are kept in a container for llvm only, not for cuda")
    compiler()  # before anything is lowered, in case there is none
    gpu, before = gpu_of(target), remarks_of(mod)
    known = KnownSchedules(times, target) if times else None
    mod, emitted = lowered_on(mod, gpu, lower, known)
    remarks = tuple(remarks_of(mod)[len(before) :])
    mod = scheduled(mod, target)
    stock = stock_calls(mod)
    libraries = static_libraries(list(emitted.variants.values()), gpu.arch)
    if libraries:
        mod = mod.with_attr(EXTERNAL, libraries)
    with _compiling_for(gpu.arch), with_graphs():
        executable = tvm.compile(mod, target, relax_pipeline=tvm.transform.Sequential(machine_phase(cuda_graph=True)))
    with_machine_code(executable.mod, gpu.arch)
    return CudaProgram(gpu.arch, executable, _with_usage(emitted, gpu), remarks, stock)


def lowered_on(
    mod: tvm.IRModule, gpu: Gpu, lower: bool = True, known: KnownSchedules | None = None
) -> tuple[tvm.IRModule, Emitted]:
    """The module with calls of our kernels, and what they are."""
    emitted = Emitted()
    return (LowerOnCuda(gpu, emitted, known)(FoldStrides()(mod)) if lower else mod), emitted


def scheduled(mod: tvm.IRModule, target: Target) -> tvm.IRModule:
    """The module with every loop nest bound to threads, by TVM's rules."""
    rules = [dlight.gpu.Matmul, dlight.gpu.GEMV, dlight.gpu.Reduction, dlight.gpu.GeneralReduction, dlight.gpu.Fallback]
    with target:
        mod = tvm.transform.Sequential([NamesForC(), *dispatch_phase(), *loops_phase()])(mod)
        return dlight.ApplyDefaultSchedule(*(rule() for rule in rules))(mod)


def stock_calls(mod: tvm.IRModule) -> tuple[str, ...]:
    """The kernels that TVM scheduled, by name, one for each call in main."""
    flow = Dataflow.of(mod)
    calls = (flow.call_of(var, "relax.call_tir") for var in flow.values)
    return tuple(call.args[0].name_hint for call in calls if call is not None)


def _with_usage(emitted: Emitted, gpu: Gpu) -> Sequence[KernelLaunch]:
    """The launches with what ptxas says of their kernels."""
    usage = {name: dataclasses.asdict(main_usage(one, gpu.arch)) for name, one in emitted.variants.items()}
    return tuple(dataclasses.replace(launch, **usage[launch.variant]) for launch in emitted.launches)


def with_graphs() -> tvm.transform.PassContext:
    """The current pass context, with TVM's pass for CUDA graphs switched on."""
    now = tvm.transform.PassContext.current()
    return tvm.transform.PassContext(
        opt_level=now.opt_level,
        required_pass=list(now.required_pass),
        disabled_pass=list(now.disabled_pass),
        instruments=list(now.instruments),
        config={**dict(now.config.items()), GRAPHS: True},
    )


@contextlib.contextmanager
def _compiling_for(arch: str) -> Iterator[None]:
    """TVM's own kernels are compiled as ours are meanwhile, if it compiles them: where there is a driver.

    TVM's callback looks on PATH only, and uses fast math.
    """
    before = tvm_ffi.get_global_func(COMPILE)
    tvm_ffi.register_global_func(COMPILE, lambda code: image_of(str(code), arch), override=True)
    try:
        yield
    finally:
        tvm_ffi.register_global_func(COMPILE, before, override=True)
