"""Names of values as C takes them: TVM's kernels name their arguments so, and layers of torch may be called "0"."""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.ir.rewriting import BindingRewriter


@tvm.transform.module_pass(opt_level=0, name="NamesForC")
class NamesForC:
    """Values of main whose names begin with a digit are called otherwise."""

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main."""
        return _Renamer(mod).run()


@mutator
class _Renamer(BindingRewriter):
    def bind(self, var: relax.Var, value: relax.Expr) -> relax.Var:
        if not isinstance(var, relax.DataflowVar) or not var.name[:1].isdigit():
            return super().bind(var, value)
        fresh = self.emit_named(value, f"layer_{var.name}")
        self.set_var_remap(var, fresh)
        return fresh
