"""What a module of our operators computes, binding by binding, in numpy."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from espalier.core import ir_names
from espalier.ir.dataflow import Dataflow, constant, shape_of

from . import integers, nn

OPERATORS = {
    ir_names.QUANTIZE: lambda spec, given: integers.quantize(spec, given["x"]),
    ir_names.DEQUANTIZE: lambda spec, given: integers.dequantize(spec, given["x"]),
    ir_names.MEAN_POOL: lambda spec, given: integers.mean_pool(spec, given["x"]),
    ir_names.ADD: lambda spec, given: integers.add(spec, given["x"], given["y"]),
}


def run_program(mod: tvm.IRModule, x: np.ndarray) -> np.ndarray:
    """The (first) output for one batch."""
    flow = Dataflow.of(mod)
    known = {mod["main"].params[0]: x}
    for var, value in flow.values.items():
        known[var] = _evaluated(flow, var, value, known)
    result = _look_up(flow.result, known)
    return result[0] if isinstance(result, tuple) else result


def _evaluated(flow: Dataflow, var: relax.Var, value: relax.Expr, known: dict):
    operator = flow.operator_of(var)
    if operator:
        name, spec, call = operator
        given = {role: _look_up(one, known) for role, one in zip(spec.roles, call.args)}
        if name in OPERATORS:
            return OPERATORS[name](spec, given)
        if spec.integer is not None:
            return (integers.channel_gate if name == ir_names.CHANNEL_GATE else integers.layer)(spec, given)
        if name == ir_names.CHANNEL_GATE:
            return nn.channel_gate(
                *(given[role] for role in ("x", "phi", "rho")), spec.mode, spec.granularity, spec.kept
            )
        return nn.layer(spec, given).astype(np.float32)
    if isinstance(value, relax.Call):
        return _stock(value, _look_up(value.args[0], known), known)
    return _look_up(value, known)


def _stock(call: relax.Call, x, known: dict):
    """A stock operator between quantized layers."""
    name, attrs = call.op.name.rsplit(".", 1)[-1], call.attrs
    if name in ("reshape", "flatten"):
        return x.reshape(shape_of(call))
    if name == "pad":
        widths = [int(one) for one in attrs.pad_width]
        return np.pad(x, list(zip(widths[::2], widths[1::2])), constant_values=int(attrs.pad_value))
    if name in ("max_pool2d", "avg_pool2d"):
        sizes = (attrs.pool_size, attrs.strides, attrs.padding)
        size, strides, padding = ([int(one) for one in part] for part in sizes)
        return nn.pool2d(x, name[:3], size, strides, padding, ceil_mode=bool(attrs.ceil_mode)).astype(x.dtype)
    if name == "adaptive_avg_pool2d":
        return x.mean((2, 3), keepdims=True)
    if name == "strided_slice":
        axes, begin, end, strides = ([int(one.value) for one in part.fields] for part in call.args[1:5])
        for axis, *piece in zip(axes, begin, end, strides):
            x = x[(*[slice(None)] * axis, slice(*piece))]
        return x
    if name == "concat":
        return np.concatenate(x, int(attrs.axis))
    if name == "mean":
        return x.mean((2, 3))
    rest = [_look_up(one, known) for one in call.args[1:]]
    return {"maximum": np.maximum, "add": np.add, "relu": lambda one: np.maximum(one, 0)}[name](x, *rest)


def _look_up(expr: relax.Expr, known: dict):
    if isinstance(expr, relax.Tuple):
        return tuple(_look_up(one, known) for one in expr.fields)
    if isinstance(expr, relax.TupleGetItem):
        return _look_up(expr.tuple_value, known)[expr.index]
    return known[expr] if isinstance(expr, relax.Var) else constant(expr)
