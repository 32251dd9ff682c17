"""The smallest weights of a layer become zero."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core.ir_names import CHANNEL_GATE
from espalier.core.plan import Plan
from espalier.ir.dataflow import argument, constant
from espalier.ir.rewriting import BindingRewriter

from .magnitude_mask import magnitude_mask


@tvm.transform.module_pass(opt_level=0, name="PruneWeights")
class PruneWeights:
    """The fraction of a layer's weights that the plan calls `sparsity` becomes zero, the smallest magnitudes first.

    Biases and gates stay. A weight that is zero already counts, so pruning twice is pruning once.
    """

    def __init__(self, plan: Plan):
        self.plan = plan

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main, before a number format is fitted."""
        pruner = _WeightPruner(mod)
        pruner.configure(self.plan)
        return pruner.run()


@mutator
class _WeightPruner(BindingRewriter):
    def configure(self, plan: Plan) -> None:
        self.plan = plan

    def rewrite(self, var: relax.Var, value: relax.Expr) -> relax.Expr:
        layer = self.flow.layer_of(var)
        if not layer or layer[0] == CHANNEL_GATE or not self.plan.layer(layer[1].name).sparsity:
            return self.visit_expr(value)
        _, spec, call = layer
        weight = constant(argument(spec, call, "weight"))
        kept = magnitude_mask(weight, self.plan.layer(spec.name).sparsity)
        arguments = [self.visit_expr(one) for one in call.args]
        arguments[spec.roles.index("weight")] = relax.const(np.where(kept, weight, np.float32(0)))
        return relax.Call(call.op, arguments)
