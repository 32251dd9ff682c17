"""The whole compiler on one page: a module, a plan and a calibration to an artifact."""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.target import Target

from .build_key import build_key, may_be_kept
from .codegen.generate import generate
from .core import ir_names
from .core.artifact import Artifact, TensorSpec
from .core.calibration import Calibration
from .core.choices import KernelTimes
from .core.errors import InvalidModelError
from .core.plan import Plan
from .ir.rewriting import remarks_of
from .passes import pipeline
from .passes.analysis.gate_sites import layer_names
from .passes.analysis.layer_table import layer_table
from .program_cache import program_cache
from .targets.resolve import as_dict, resolve_target


def build(
    mod: tvm.IRModule,
    target: str | dict | Target = "llvm",
    plan: Plan | None = None,
    calibration: Calibration | None = None,
    lower: bool = True,
    times: KernelTimes | None = None,
    compress: bool = False,
) -> Artifact:
    """Compile a module.

    mod: what a frontend returns; `main` takes static shapes and has its weights as constants.
    plan: what to do to each layer; None leaves the network dense.
    calibration: the gates that a plan with densities below one needs.
    lower: False runs every Espalier operator as its reference body, slowly.
    times: what is known of kernels' times, from records or a cost model; None leaves every choice to analytic rules.
    compress: True saves the artifact with its weights entropy-coded in a file of their own, decoded when it is loaded.
    What was built before from the same is taken from the cache, see `program_cache`.

    Raises InvalidPlanError, InvalidModelError, UnsupportedOpError, UnsupportedTargetError, InvalidInputError.
    """
    resolved = resolve_target(target)
    _check_main(mod)
    given = (mod, resolved, plan or Plan(), calibration or Calibration(), lower, times, compress)
    cache = program_cache()
    if cache is None or not may_be_kept(mod, cache.largest_bytes):
        return _compile(*given)
    return cache.artifact(build_key(*given), lambda: _compile(*given))


def _compile(
    mod: tvm.IRModule,
    target: Target,
    plan: Plan,
    calibration: Calibration,
    lower: bool,
    times: KernelTimes | None,
    compress: bool,
) -> Artifact:
    plan = plan_for(mod, plan)
    mod = lowered(mod, plan, calibration)
    program = generate(mod, target, lower, times, compress)
    return Artifact(
        program=program,
        inputs=_inputs(mod),
        outputs=_outputs(mod),
        target=as_dict(target),
        plan=plan,
        layers=tuple(layer_table(mod)),
        report=(*remarks_of(mod), *program.remarks),
    )


def lowered(mod: tvm.IRModule, plan: Plan, calibration: Calibration) -> tvm.IRModule:
    """The module under a plan as the code generator gets it; errors as from `build`."""
    plan = plan_for(mod, plan)
    return pipeline.apply(planned(mod, plan, calibration), pipeline.lower_phase(plan))


def plan_for(mod: tvm.IRModule, plan: Plan) -> Plan:
    """The plan by the names of the module's layers alone: `first` and `last` say which they are."""
    return plan.for_layers(layer_names(prepare(mod))) if plan.first or plan.last else plan


def prepare(mod: tvm.IRModule) -> tvm.IRModule:
    """The module with its layers fused and named, before a plan is applied.

    Raises InvalidModelError if the shapes are not static or there is no function main.
    """
    _check_main(mod)
    return pipeline.apply(mod, pipeline.prepare_phase())


def planned(mod: tvm.IRModule, plan: Plan, calibration: Calibration) -> tvm.IRModule:
    """The module with all that the plan asks for, before a target is known: what a program is to compute, exactly.

    Raises what `build` does.
    """
    mod = prepare(mod)
    plan = plan.for_layers(layer_names(mod))
    for phase in (pipeline.prune_phase(plan, calibration), pipeline.quantize_phase(plan, calibration)):
        mod = pipeline.apply(mod, phase)
    return mod


def _check_main(mod) -> None:
    if not isinstance(mod, tvm.IRModule) or "main" not in [var.name_hint for var in mod.functions]:
        raise InvalidModelError("build: got no IRModule with a function main; use espalier.from_onnx or from_torch")
    for param in mod["main"].params:
        _static_shape(param.name, param.ty)


def _inputs(mod: tvm.IRModule) -> tuple[TensorSpec, ...]:
    return tuple(_tensor_spec(param.name, param.ty) for param in mod["main"].params)


def _outputs(mod: tvm.IRModule) -> tuple[TensorSpec, ...]:
    result = mod["main"].ret_ty
    types = list(result.fields) if isinstance(result, relax.TupleType) else [result]
    stored = mod.attrs.get(ir_names.OUTPUT_NAMES) if mod.attrs else None
    names = [str(name) for name in stored] if stored else [f"output{i}" for i in range(len(types))]
    return tuple(_tensor_spec(name, one) for name, one in zip(names, types, strict=True))


def _tensor_spec(name: str, one) -> TensorSpec:
    return TensorSpec(name, _static_shape(name, one), str(one.dtype))


def _static_shape(name: str, one) -> tuple[int, ...]:
    shape = getattr(one, "shape", None)
    if shape is None or not all(hasattr(dim, "value") for dim in shape):
        raise InvalidModelError(f"{name}: its shape {shape} is not static; bind it when the model is imported")
    return tuple(int(dim) for dim in shape)
