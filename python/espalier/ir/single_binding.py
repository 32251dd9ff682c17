"""One binding of a module as a module of its own."""

from __future__ import annotations

import tvm
from tvm import relax


def single_binding(mod: tvm.IRModule, value: relax.Expr) -> tvm.IRModule:
    """A module whose main computes this value of `mod`'s main from the variables that it mentions, in their order.

    A tuple among these arrives as its parts.
    """
    params, bindings = [], []
    for var in relax.analysis.free_vars(value):
        if isinstance(var.ty, relax.TupleType):
            bindings.append(relax.VarBinding(var, _parts(var.name, var.ty, params)))
        else:
            params.append(var)
    result = relax.Var("result", value.ty)
    bindings.append(relax.VarBinding(result, value))
    body = relax.SeqExpr([relax.DataflowBlock(bindings)], result)
    main = relax.Function(params, body, value.ty).with_attr("global_symbol", "main")
    callees = {gvar: function for gvar, function in mod.functions.items() if gvar.name_hint != "main"}
    alone = tvm.IRModule({tvm.ir.GlobalVar("main"): main, **callees})
    return relax.transform.DeadCodeElimination(["main"])(alone)


def _parts(name: str, ty, params: list[relax.Var]) -> relax.Expr:
    """A tuple of fresh parameters of these types, which are added to `params`."""
    if isinstance(ty, relax.TupleType):
        return relax.Tuple([_parts(f"{name}.{i}", field, params) for i, field in enumerate(ty.fields)])
    params.append(relax.Var(name, ty))
    return params[-1]
