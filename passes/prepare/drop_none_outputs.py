"""Leave out outputs that hold nothing."""

from __future__ import annotations

import tvm
from tvm import relax

from espalier.core import ir_names
from espalier.core.errors import InvalidModelError
from espalier.ir.dataflow import Dataflow


@tvm.transform.module_pass(opt_level=0, name="DropNoneOutputs")
class DropNoneOutputs:
    """Outputs of main that are None, as modules of torch give them, are no outputs any more; one left is no tuple.

    Raises InvalidModelError if none is left.
    """

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main."""
        outputs = Dataflow.of(mod).outputs()
        kept = [place for place, output in enumerate(outputs) if not _is_none(output)]
        if len(kept) == len(outputs):
            return mod
        if not kept:
            raise InvalidModelError("network: all of its outputs are None, accepted is at least one tensor")
        return _with_outputs(mod, kept)


def _is_none(output: relax.Expr) -> bool:
    return isinstance(output, relax.Call) and output.op == tvm.ir.Op.get("relax.null_value")


def _with_outputs(mod: tvm.IRModule, kept: list[int]) -> tvm.IRModule:
    main = mod["main"]
    outputs = [relax.TupleGetItem(main.body.body, place) for place in kept]
    types = [main.ret_ty.fields[place] for place in kept]
    value, kind = (outputs[0], types[0]) if len(kept) == 1 else (relax.Tuple(outputs), relax.TupleType(types))
    body = relax.SeqExpr(main.body.blocks, value)
    result = tvm.IRModule(mod.functions, attrs=mod.attrs)
    result["main"] = relax.Function(main.params, body, kind, main.is_pure, main.attrs)
    names = mod.attrs.get(ir_names.OUTPUT_NAMES) if mod.attrs else None
    if names:
        result = result.with_attr(ir_names.OUTPUT_NAMES, [str(names[place]) for place in kept])
    return relax.transform.Normalize()(result)
