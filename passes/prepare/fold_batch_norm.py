"""Batch normalisation after a convolution becomes part of the convolution's weight and bias."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.ir.dataflow import Dataflow, constant
from espalier.ir.rewriting import BindingRewriter


@tvm.transform.module_pass(opt_level=0, name="FoldBatchNorm")
class FoldBatchNorm:
    """conv2d [+ bias] -> batch_norm becomes conv2d + bias, where weight, bias and statistics are constants.

    Before: y = gamma * (conv(x, w) + b - mean) / sqrt(var + eps) + beta
    After:  y = conv(x, w * s) + ((b - mean) * s + beta),  s = gamma / sqrt(var + eps)
    """

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main."""
        return _BatchNormFolder(mod).run()


@mutator
class _BatchNormFolder(BindingRewriter):
    def __init__(self, mod: tvm.IRModule):
        super().__init__(mod)
        self.folds, self.dropped = {}, set()
        for var, value in self.flow.values.items():
            if isinstance(value, relax.TupleGetItem) and value.index == 0:
                self._plan_fold(var, value.tuple_value)

    def rewrite(self, var: relax.Var, value: relax.Expr) -> relax.Expr | None:
        if var in self.dropped:
            return None
        if var not in self.folds:
            return self.visit_expr(value)
        convolution, weight, bias = self.folds[var]
        call = self.flow.values[convolution]
        scaled = relax.Call(call.op, [self.visit_expr(call.args[0]), relax.const(weight)], call.attrs)
        product = self.emit_named(scaled, convolution.name)
        return relax.op.add(product, relax.const(bias.reshape(1, -1, 1, 1)))

    def _plan_fold(self, var: relax.Var, normalised: relax.Expr) -> None:
        flow = self.flow
        norm = flow.call_of(normalised, "relax.nn.batch_norm")
        if norm is None or flow.only_user(normalised) != var:
            return
        convolution, bias, between = _convolution_before(flow, norm.args[0])
        statistics = [constant(argument) for argument in norm.args[1:5]]
        if convolution is None or any(value is None for value in statistics) or int(norm.attrs.axis) != 1:
            return
        gamma, beta, mean, variance = (value.astype("float64") for value in statistics)
        gamma, beta = gamma if norm.attrs.scale else 1.0, beta if norm.attrs.center else 0.0
        scale = gamma / np.sqrt(variance + float(norm.attrs.epsilon))
        weight = constant(flow.values[convolution].args[1])
        self.folds[var] = (
            convolution,
            (weight * scale.reshape(-1, 1, 1, 1)).astype(weight.dtype),
            ((bias - mean) * scale + beta).astype(weight.dtype),
        )
        self.dropped |= {normalised, *between}


def _convolution_before(flow: Dataflow, var: relax.Expr):
    """(convolution, its bias, the variables to drop) if `var` is a convolution [+ constant bias] used only here."""
    bias, between = 0.0, [var]
    added = flow.call_of(var, "relax.add")
    if added is not None:
        if flow.only_user(var) is None:
            return None, None, None
        var, bias = _split_constant(added)
        between.append(var)
    call = flow.call_of(var, "relax.nn.conv2d")
    if call is None or bias is None or flow.only_user(var) is None or constant(call.args[1]) is None:
        return None, None, None
    return var, bias if np.isscalar(bias) else bias.reshape(-1), between


def _split_constant(added: relax.Call):
    """(variable, per-channel constant) of an add in either order; the constant is None if there is none."""
    for var, other in (added.args, reversed(added.args)):
        value = constant(other)
        if value is not None and value.ndim == 4 and value.size == value.shape[1]:
            return var, value
    return added.args[0], None
