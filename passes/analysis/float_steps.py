"""Where a program that should be integer is not."""

from __future__ import annotations

import tvm
from tvm import relax

from espalier.core import ir_names
from espalier.ir.dataflow import Dataflow, dtype_of


def float_steps(mod: tvm.IRModule) -> list[str]:
    """Names of the floating-point tensors that integers are computed from, other than inputs; [] is integer-only.

    What comes after the last integer (logits in float32, say) does not count.
    """
    flow = Dataflow.of(mod)
    before: set[relax.Var] = set()
    for var, value in reversed(flow.values.items()):
        if var in before or _gives_integers(flow, var):
            before.update(relax.analysis.free_vars(value))
    return [var.name for var in flow.values if var in before and _has_floats(var.ty)]


def _gives_integers(flow: Dataflow, var: relax.Var) -> bool:
    """Whether a variable holds numbers of a quantized tensor, or what a quantized gate gives."""
    found = flow.operator_of(var)
    if found and found[0] == ir_names.CHANNEL_GATE:
        return found[1].integer is not None
    return isinstance(var.ty, relax.TensorType) and dtype_of(var) == "uint8"


def _has_floats(ty: relax.Type) -> bool:
    if isinstance(ty, relax.TupleType):
        return any(_has_floats(one) for one in ty.fields)
    return isinstance(ty, relax.TensorType) and str(ty.dtype).startswith(("float", "bfloat"))
