"""Layers whose products are of bfloat16 values."""

from __future__ import annotations

import dataclasses

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core.ir_names import CHANNEL_GATE
from espalier.core.layers import Conv2dSpec
from espalier.core.plan import Plan
from espalier.ir.dataflow import argument, constant
from espalier.ir.operators import layer_function
from espalier.ir.rewriting import BindingRewriter

KEEPS_FORMAT = ("relax.nn.max_pool2d", "relax.nn.relu", "relax.concat")
"""Stock operators that give bfloat16 values for bfloat16 values, the same as if they were rounded afterwards."""


@tvm.transform.module_pass(opt_level=0, name="RoundToBfloat16")
class RoundToBfloat16:
    """A layer that the plan has in bfloat16 rounds its input, and its weight becomes one of bfloat16 values.

    Where every reader of a convolution's output is such a layer, or such a layer's gate, the output is rounded too, so
    that it can be stored in half the space; a residual add then reads what was rounded.
    """

    def __init__(self, plan: Plan):
        self.plan = plan

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main."""
        rounder = _Rounder(mod)
        rounder.configure(self.plan)
        return rounder.run()


def rounded_to_bfloat16(array: np.ndarray) -> np.ndarray:
    """Float32 values rounded to the nearest bfloat16, ties to even; what lies beyond the largest becomes infinite."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    nearest = (bits + (0x7FFF + (bits >> 16 & 1))) & 0xFFFF0000
    return np.where(np.isnan(array), array, nearest.astype(np.uint32).view(np.float32))


@mutator
class _Rounder(BindingRewriter):
    def configure(self, plan: Plan) -> None:
        self.plan = plan
        self.returned = set(relax.analysis.free_vars(self.flow.result))

    def rewrite(self, var: relax.Var, value: relax.Expr) -> relax.Expr:
        layer = self.flow.layer_of(var)
        if not layer or layer[0] == CHANNEL_GATE or not self._is_rounding(layer):
            return self.visit_expr(value)
        _, spec, call = layer
        given = {role: self.visit_expr(expr) for role, expr in zip(spec.roles, call.args)}
        given["weight"] = relax.const(rounded_to_bfloat16(constant(argument(spec, call, "weight"))))
        spec = dataclasses.replace(spec, format="bfloat16")
        if isinstance(spec, Conv2dSpec) and self._is_read_rounded(var):
            spec = dataclasses.replace(spec, out_format="bfloat16")
        arguments = list(given.values())
        return self.call_operator(layer_function(spec, arguments), spec.name, arguments)

    def _is_rounding(self, layer) -> bool:
        """Whether a layer, or the layer that a gate is made for, is planned in bfloat16, and did not come quantized."""
        return layer[1].integer is None and self.plan.layer(layer[1].name).activations == "bfloat16"

    def _is_read_rounded(self, var: relax.Var) -> bool:
        users = self.flow.users[var]
        return bool(users) and var not in self.returned and all(self._rounds(user) for user in users)

    def _rounds(self, user: relax.Var) -> bool:
        layer = self.flow.layer_of(user)
        if layer:
            return self._is_rounding(layer)
        return self.flow.call_of(user, *KEEPS_FORMAT) is not None and self._is_read_rounded(user)
