"""`relay.frontend`: importers that return a module and its weights apart, as Relay's did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tvm
from tvm import relax

from .core.errors import InvalidInputError


def from_onnx(
    model,
    shape: Mapping[str, Sequence[int]] | None = None,
    dtype: str | Mapping[str, str] = "float32",
    freeze_params: bool = False,
) -> tuple[tvm.IRModule, dict]:
    """Import an ONNX model; returns the module and the values of its weight parameters by name.

    shape: static shapes by input name.
    dtype: types by input name, which must be the model's; a single type is ignored, as in Relay.
    freeze_params: keep the weights in the module as constants and return no values.

    Raises what `espalier.from_onnx` raises.
    """
    from .frontend.onnx import import_onnx

    mod, constants = import_onnx(model, shape)
    if isinstance(dtype, Mapping):
        _check_types(mod["main"], dtype)
    return (mod, {}) if freeze_params else _with_weight_parameters(mod, constants)


def from_pytorch(
    script_module, input_infos: Sequence[tuple], default_dtype: str = "float32"
) -> tuple[tvm.IRModule, dict]:
    """Import a traced module, a module or an exported program; returns the module and its weights by name.

    input_infos: for each input (name, shape) or (name, (shape, dtype)); `main` takes these names.

    Raises what `espalier.from_torch` raises.
    """
    from .frontend.torch import import_torch, zeros
    from .ir.rewriting import rename_variables

    names, shapes, dtypes = zip(*(_input_info(info, default_dtype) for info in input_infos))
    mod, params = import_torch(script_module, tuple(map(zeros, shapes, dtypes)))
    inputs = [parameter for parameter in mod["main"].params if parameter.name not in params]
    if len(inputs) != len(names):
        raise InvalidInputError(f"input_infos: names {len(names)} inputs, accepted are {len(inputs)}")
    for name, shape, parameter in zip(names, shapes, inputs):
        expected = [int(size) for size in parameter.ty.shape]
        if shape != expected:
            raise InvalidInputError(f"input_infos: {name} is {shape}, accepted is {expected}")
    return rename_variables(mod, dict(zip(inputs, names))), params


def _input_info(info: tuple, default_dtype: str) -> tuple[str, list[int], str]:
    try:
        name, shape = info
        shape, dtype = shape if len(shape) == 2 and isinstance(shape[1], str) else (shape, default_dtype)
        return name, [int(size) for size in shape], dtype
    except (TypeError, ValueError):
        raise InvalidInputError(
            f"input_infos: got {info!r}, accepted is (name, shape) or (name, (shape, dtype))"
        ) from None


def _check_types(main: relax.Function, dtypes: Mapping[str, str]) -> None:
    types = {parameter.name: str(parameter.ty.dtype) for parameter in main.params}
    for name, dtype in dtypes.items():
        if types.get(name) != dtype:
            accepted = ", ".join(f"{known} {types[known]}" for known in types)
            raise InvalidInputError(f"dtype: input {name} is not {dtype}, accepted are {accepted}")


def _with_weight_parameters(mod: tvm.IRModule, constants: Mapping) -> tuple[tvm.IRModule, dict]:
    """Turn the named floating-point constants of `main` into parameters after its inputs."""
    lifter = _WeightLifter(constants)
    main = lifter.visit_expr(mod["main"])
    weights = [lifter.weights[name] for name in constants if name in lifter.weights]
    main = relax.Function([*main.params, *weights], main.body, main.ret_ty, main.is_pure, main.attrs)
    result = tvm.IRModule(mod.functions, attrs=mod.attrs)
    result["main"] = main
    return result, {weight.name: constants[weight.name].value for weight in weights}


@relax.expr_functor.mutator
class _WeightLifter(relax.PyExprMutator):
    def __init__(self, constants: Mapping):
        super().__init__()
        self.names = {constant: name for name, constant in constants.items()}
        self.weights: dict[str, relax.Var] = {}

    def visit_generic_const_(self, op):
        name = self.names.get(op)
        if name is None or not op.ty.shape or not str(op.ty.dtype).startswith(("float", "bfloat")):
            return op
        return self.weights.setdefault(name, relax.Var(name, op.ty))
