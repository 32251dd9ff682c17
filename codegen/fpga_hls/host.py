"""The module that the host runs in the accelerator's place: the same integers, and what goes in and out of it."""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relax


def with_outputs(mod: tvm.IRModule, more: Sequence[relax.Var]) -> tvm.IRModule:
    """The module whose main returns, behind its own outputs, the values of these of its variables.

    A variable may be named twice: of a network of one layer the numbers that come in are those that its layer reads.
    """
    main = mod["main"]
    seen = {var: relax.Var(f"stream{number}", var.ty) for number, var in enumerate(more)}
    blocks = [_showing(block, seen) for block in main.body.blocks]
    result, kind = main.body.body, main.ret_ty
    is_tuple = isinstance(kind, relax.TupleType)
    own = [relax.TupleGetItem(result, place) for place in range(len(kind.fields))] if is_tuple else [result]
    kinds = [*(kind.fields if is_tuple else [kind]), *(var.ty for var in more)]
    body = relax.SeqExpr(blocks, relax.Tuple([*own, *(seen[var] for var in more)]))
    function = relax.Function(main.params, body, relax.TupleType(kinds), main.is_pure, main.attrs)
    result = tvm.IRModule(mod.functions, attrs=mod.attrs)
    result["main"] = function
    return relax.transform.Normalize()(result)


def _showing(block: relax.BindingBlock, seen: dict[relax.Var, relax.Var]) -> relax.BindingBlock:
    """The block with another name, visible outside of it, for each of these variables that it binds."""
    bindings = []
    for binding in block.bindings:
        bindings.append(binding)
        if binding.var in seen:
            bindings.append(relax.VarBinding(seen[binding.var], binding.var))
    return type(block)(bindings)
