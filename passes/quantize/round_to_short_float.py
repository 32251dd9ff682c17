"""Layers whose products are of bfloat16, float16 or tfloat32 values."""

from __future__ import annotations

import dataclasses

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core.formats import Bfloat16, Float16, Tfloat32
from espalier.core.ir_names import CHANNEL_GATE
from espalier.core.layers import Conv2dSpec
from espalier.core.plan import Plan
from espalier.ir.dataflow import argument, constant
from espalier.ir.operators import layer_function
from espalier.ir.rewriting import BindingRewriter

KEEPS_FORMAT = ("relax.nn.max_pool2d", "relax.nn.relu", "relax.concat")
"""Stock operators that give values of a format for values of it, the same as if they were rounded afterwards."""
SHORT = tuple(one.name for one in (Bfloat16, Float16, Tfloat32))
HALF_SIZE = ("bfloat16", "float16")
"""Formats whose values can be stored in half the space."""


@tvm.transform.module_pass(opt_level=0, name="RoundToShortFloat")
class RoundToShortFloat:
    """A layer that the plan has in a short floating-point format rounds its input and its weight to it.

    Where every reader of a convolution's output is a layer of the same format, or such a layer's gate, the output is
    rounded too, so that it can be stored in half the space; a residual add then reads what was rounded.
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


def rounded_to(name: str, array: np.ndarray) -> np.ndarray:
    """Float32 values rounded to the nearest value of the format, ties to even."""
    if name == "bfloat16":
        return rounded_to_bfloat16(array)
    if name == "float16":
        with np.errstate(over="ignore"):  # what lies beyond the largest becomes infinite
            return array.astype(np.float16).astype(np.float32)
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)  # tfloat32 has 13 bits less of the fraction
    nearest = (bits + (0xFFF + (bits >> 13 & 1))) & 0xFFFFE000
    return np.where(np.isfinite(array), nearest.astype(np.uint32).view(np.float32), array)


@mutator
class _Rounder(BindingRewriter):
    def configure(self, plan: Plan) -> None:
        self.plan = plan
        self.returned = set(relax.analysis.free_vars(self.flow.result))

    def rewrite(self, var: relax.Var, value: relax.Expr) -> relax.Expr:
        layer = self.flow.layer_of(var)
        if not layer or layer[0] == CHANNEL_GATE or not self._format_of(layer):
            return self.visit_expr(value)
        (_, spec, call), name = layer, self._format_of(layer)
        given = {role: self.visit_expr(expr) for role, expr in zip(spec.roles, call.args)}
        given["weight"] = relax.const(rounded_to(name, constant(argument(spec, call, "weight"))))
        spec = dataclasses.replace(spec, format=name)
        if isinstance(spec, Conv2dSpec) and name in HALF_SIZE and self._is_read_rounded(var, name):
            spec = dataclasses.replace(spec, out_format=name)
        arguments = list(given.values())
        return self.call_operator(layer_function(spec, arguments), spec.name, arguments)

    def _format_of(self, layer) -> str | None:
        """The short format of a layer, or of the layer that a gate is made for; None for others and quantized ones."""
        name = self.plan.layer(layer[1].name).activations
        return name if layer[1].integer is None and name in SHORT else None

    def _is_read_rounded(self, var: relax.Var, name: str) -> bool:
        users = self.flow.users[var]
        return bool(users) and var not in self.returned and all(self._rounds(user, name) for user in users)

    def _rounds(self, user: relax.Var, name: str) -> bool:
        layer = self.flow.layer_of(user)
        if layer:
            return self._format_of(layer) == name
        return self.flow.call_of(user, *KEEPS_FORMAT) is not None and self._is_read_rounded(user, name)
