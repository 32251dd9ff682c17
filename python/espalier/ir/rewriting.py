"""What the passes share for rewriting main binding by binding."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from espalier.core import ir_names

from .dataflow import Dataflow


class BindingRewriter(PyExprMutator):
    """Rebuilds main; a pass derives from it (under the decorator `mutator`) and overrides `rewrite`.

    `rewrite(var, value)` returns the new expression for `var` (its variables already replaced by the
    new ones), or None to drop a binding that nothing uses any more.
    """

    def __init__(self, mod: tvm.IRModule):
        super().__init__(mod)
        self.flow = Dataflow.of(mod)
        self.remarks: list[str] = []

    def rewrite(self, var: relax.Var, value: relax.Expr) -> relax.Expr | None:
        """Keep the binding as it is."""
        return self.visit_expr(value)

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        value = self.rewrite(binding.var, binding.value)
        if value is not None:
            self.bind(binding.var, value)

    def bind(self, var: relax.Var, value: relax.Expr) -> relax.Var:
        """Emit `value` under the name of the old variable and use it in the old one's place."""
        if isinstance(var, relax.DataflowVar):
            fresh = self.emit_named(value, var.name)
        elif not self.builder_.current_block_is_dataflow():
            fresh = self.builder_.emit(value, var.name)
        else:
            fresh = self.builder_.emit_output(value, var.name)
        self.set_var_remap(var, fresh)
        return fresh

    def emit_named(self, value: relax.Expr, name: str) -> relax.Var:
        """Emit `value` under exactly this name; the builder alone would turn a layer's dots into underscores."""
        value = self.builder_.normalize(value)
        fresh = relax.DataflowVar(name, value.ty)
        self.builder_.emit_normalized(relax.VarBinding(fresh, value))
        return fresh

    def call_operator(self, function: relax.Function, name: str, arguments: Sequence[relax.Expr]) -> relax.Call:
        """A call of `function`, which is added to the module under (about) this name."""
        return relax.Call(self.builder_.add_func(function, name), list(arguments))

    def run(self) -> tvm.IRModule:
        """The rewritten module, with the remarks added to its report."""
        old_main = self.flow.mod["main"]
        gvar = self.flow.mod.get_global_var("main")
        self.builder_.update_func(gvar, self.visit_expr(old_main))
        return with_remarks(clean_up(self.builder_.get()), self.flow.mod, self.remarks)


def clean_up(mod: tvm.IRModule) -> tvm.IRModule:
    """Remove what nothing uses any more."""
    return relax.transform.DeadCodeElimination(["main"])(mod)


def remarks_of(mod: tvm.IRModule) -> list[str]:
    """The module's report."""
    text = mod.attrs.get(ir_names.REPORT) if mod.attrs else None
    return json.loads(str(text)) if text else []


def with_remarks(mod: tvm.IRModule, before: tvm.IRModule, remarks: Sequence[str]) -> tvm.IRModule:
    """`mod` with the attributes of the module `before` it and further remarks."""
    for name, value in (before.attrs or {}).items():
        mod = mod.with_attr(name, value)
    return mod.with_attr(ir_names.REPORT, json.dumps([*remarks_of(before), *remarks]))


def rename_variables(mod: tvm.IRModule, names: Mapping[relax.Var, str]) -> tvm.IRModule:
    """The module with these variables of `main` (parameters or bindings) under other names."""
    result = tvm.IRModule(mod.functions, attrs=mod.attrs)
    result["main"] = _VariableRenamer(names).visit_expr(mod["main"])
    return result


@mutator
class _VariableRenamer(PyExprMutator):
    def __init__(self, names: Mapping[relax.Var, str]):
        super().__init__()
        self.names = names

    def visit_var_def_(self, var: relax.Var) -> relax.Var:
        return self._renamed(var)

    def visit_dataflow_var_def_(self, var: relax.DataflowVar) -> relax.DataflowVar:
        return self._renamed(var)

    def _renamed(self, var):
        name = self.names.get(var)
        return var if name is None else type(var)(name, var.ty)
