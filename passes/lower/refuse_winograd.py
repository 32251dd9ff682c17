"""Layers that a plan wants computed without Winograd's transforms."""

from __future__ import annotations

import dataclasses

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core.layers import Conv2dSpec
from espalier.core.plan import Plan
from espalier.ir.operators import layer_function
from espalier.ir.rewriting import BindingRewriter


@tvm.transform.module_pass(opt_level=0, name="RefuseWinograd")
class RefuseWinograd:
    """A convolution whose plan says `winograd: false` carries that to the code generators."""

    def __init__(self, plan: Plan):
        self.plan = plan

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main."""
        refuser = _Refuser(mod)
        refuser.configure(self.plan)
        return refuser.run()


@mutator
class _Refuser(BindingRewriter):
    def configure(self, plan: Plan) -> None:
        self.plan = plan

    def rewrite(self, var: relax.Var, value: relax.Expr) -> relax.Expr:
        layer = self.flow.layer_of(var)
        if not layer or not isinstance(layer[1], Conv2dSpec) or self.plan.layer(layer[1].name).winograd:
            return self.visit_expr(value)
        spec = dataclasses.replace(layer[1], winograd=False)
        arguments = [self.visit_expr(argument) for argument in layer[2].args]
        return self.call_operator(layer_function(spec, arguments), spec.name, arguments)
