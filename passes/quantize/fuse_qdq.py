"""Networks that come quantized, in QDQ form, become integer arithmetic as they are."""

from __future__ import annotations

import dataclasses

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core import ir_names
from espalier.core.integer import (
    AddSpec,
    DequantizeSpec,
    LayerArithmetic,
    MeanPoolSpec,
    QuantizeSpec,
    ResidualArithmetic,
    multipliers,
)
from espalier.core.layers import Activation, Conv2dSpec
from espalier.ir.dataflow import shape_of
from espalier.ir.operators import activate, layer_function, quantization_function
from espalier.ir.rewriting import BindingRewriter

from ..prepare.fuse_layers import activation_of
from .integer_tensors import is_spatial_mean, keeps_numbers
from .layer_arrays import check_sums
from .limits import limits
from .match_qdq import QdqMatcher, QuantizedLayer
from .residuals import add_multipliers
from .scales import Numbers

FORMAT = "uniform<8>"
"""What a weight of a network in QDQ form is."""

SUM_BITS = 24
"""Of the multipliers behind a convolution. With 20 bits one sum in 10,000 is rounded otherwise than in float32."""


@tvm.transform.module_pass(opt_level=0, name="FuseQdq")
class FuseQdq:
    """quantize(op(dequantize(x), ...)) becomes the operator on integers, with the model's own scales and numbers.

    Convolutions and dense products with bias and activation, with an add behind them; adds, the mean over pixels, and
    what keeps numbers as they are. Numbers in int8 become uint8, 128 higher. Anything else is computed in float32
    between a dequantize and a quantize, and a remark says so.
    """

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main, before constants are folded."""
        fuser = _Fuser(mod)
        return fuser.run() if fuser.matcher.numbers else mod


@mutator
class _Fuser(BindingRewriter):
    def __init__(self, mod: tvm.IRModule):
        super().__init__(mod)
        self.matcher = QdqMatcher(self.flow)
        self.numbers: dict[relax.Var, Numbers] = self.matcher.numbers
        self.joined: dict[relax.Var, tuple] = {}
        self.layers: dict[relax.Var, QuantizedLayer] = {}
        self.skipped: set[relax.Var] = set()
        for var in self.flow.values:
            self._match(var)

    def rewrite(self, var: relax.Var, value: relax.Expr) -> relax.Expr | None:
        if var in self.skipped:
            return None
        if var in self.numbers:
            return self._quantized(var, value)
        source = self.matcher.source(var)
        if source is not None:
            numbers = self.numbers[source]
            spec = DequantizeSpec(var.name, numbers.scale, numbers.zero)
            return self._operator(ir_names.DEQUANTIZE, spec, [source])
        if var in self.layers:
            return self._real_layer(self.layers[var])
        return self.visit_expr(value)

    def _match(self, var: relax.Var) -> None:
        """Note what is fused at this variable, and which ones before it disappear into it."""
        if var in self.numbers:
            last = self.flow.values[var].args[0]
            joined = self._sum(last)
            layer = None if joined or not self._is_alone(last) else self.matcher.layer(last)
            if joined:
                self.joined[var] = joined
                self._skip(*joined[0].through, *joined[3])
            elif layer:
                self.layers[var] = layer
                self._skip(*layer.through)
        elif self.flow.call_of(var, "relax.nn.conv2d", "relax.matmul", "relax.add") is not None:
            self._match_real(var)

    def _match_real(self, var: relax.Var) -> None:
        """A layer whose output is not quantized again, seen first at its product, then at its bias."""
        layer = self.matcher.layer(var)
        if layer is None:
            return
        for inner in layer.through[1:]:
            self.layers.pop(inner, None)
            self.skipped.add(inner)
        self.layers[var] = layer

    def _skip(self, *fused: relax.Var) -> None:
        for var in fused:
            self.layers.pop(var, None)
        self.skipped.update(fused)

    def _is_alone(self, last: relax.Expr) -> bool:
        return isinstance(last, relax.Var) and last in self.flow.values and self.flow.only_user(last) is not None

    def _sum(self, last: relax.Expr):
        """(layer, own quantized variable, residual, variables in between, activation) of a convolution and an add."""
        if not self._is_alone(last):
            return None
        between, added = [last], last
        activation = activation_of(self.flow.call_of(last, "relax.nn.relu", "relax.clip", "relax.nn.relu6"))
        if activation is not None:
            added = self.flow.call_of(last).args[0]
            if not self._is_alone(added):
                return None
            between.append(added)
        call = self.flow.call_of(added, "relax.add")
        sides = [] if call is None else [self.matcher.source(one) for one in call.args]
        if len(sides) != 2 or any(one is None for one in sides) or shape_of(call.args[0]) != shape_of(call.args[1]):
            return None
        for number in (1, 0):
            own, real = sides[number], call.args[number]
            layer = self.layers.get(own)
            only = self.flow.only_user(own) is not None and self.flow.only_user(real) is not None
            if layer and only and isinstance(layer.spec, Conv2dSpec) and not sides[0].same_as(sides[1]):
                return layer, own, sides[1 - number], [*between, real, own], activation or Activation()
        return None

    def _quantized(self, var: relax.Var, value: relax.Call) -> relax.Expr:
        """The integers of a variable that is quantized."""
        y, last = self.numbers[var], value.args[0]
        if var in self.joined:
            return self._joined_layer(*self.joined[var], y)
        if var in self.layers:
            layer = self.layers[var]
            return self._layer(layer, y, None, layer.activation, [])
        call = self.flow.call_of(last) if isinstance(last, relax.Var) else None
        found = None if call is None else self._between(var, call, y)
        if found is not None:
            return found
        if call is not None and any(self.matcher.source(one) is not None for one in relax.analysis.free_vars(call)):
            self.remarks.append(f"{var.name}: {call.op.name} is computed in float32, between integers")
        spec = QuantizeSpec(var.name, y.scale, y.zero)
        return self._operator(ir_names.QUANTIZE, spec, [last])

    def _layer(self, layer: QuantizedLayer, y: Numbers, residual, activation: Activation, more: list) -> relax.Call:
        """The integer layer; without a residual in the numbers y, else its sums in those of `residual`."""
        x = self.numbers[layer.x]
        check_sums(layer.spec.name, layer.arrays, x.zero)
        arithmetic, own = residual if residual else (None, y)
        multiplier, shift = layer.arrays.multiplier(own.scale)
        low, high = limits(activation, y)
        integer = LayerArithmetic(x.zero, shift, y.zero, low, high, arithmetic)
        ending = ("multiplier", relax.const(multiplier))
        return self._call(layer, integer, "uint8", [*([("residual", more[0])] if more else []), ending])

    def _joined_layer(self, layer: QuantizedLayer, own_var, residual, _between, activation, y: Numbers) -> relax.Call:
        own, other = self.numbers[own_var], self.numbers[residual]
        low, high = limits(layer.activation, own)
        factors = add_multipliers(own.scale / y.scale, other.scale / y.scale, SUM_BITS)
        arithmetic = ResidualArithmetic(other.zero, *factors, low - own.zero, high - own.zero)
        return self._layer(layer, y, (arithmetic, own), activation, [self.visit_expr(residual)])

    def _real_layer(self, layer: QuantizedLayer) -> relax.Expr:
        """A layer whose output stays in float32."""
        x = self.numbers[layer.x]
        check_sums(layer.spec.name, layer.arrays, x.zero)
        scale = ("scale", relax.const(layer.arrays.scale.astype(np.float32)))
        return activate(layer.activation, self._call(layer, LayerArithmetic(x.zero), "float32", [scale]))

    def _call(self, layer: QuantizedLayer, arithmetic: LayerArithmetic, out: str, more: list) -> relax.Call:
        x = self.visit_expr(layer.x)
        if layer.x_shape != shape_of(layer.x):
            x = self.builder_.emit(relax.op.reshape(x, layer.x_shape))
        roles = {"x": x, "weight": relax.const(layer.arrays.weight)}
        if layer.arrays.bias.any():
            roles["bias"] = relax.const(layer.arrays.bias)
        roles |= dict(more)
        spec = dataclasses.replace(
            layer.spec,
            roles=tuple(roles),
            format="int8",
            out_format=out,
            integer=arithmetic,
            weight_format=FORMAT,
        )
        return self.call_operator(layer_function(spec, list(roles.values())), spec.name, list(roles.values()))

    def _between(self, var: relax.Var, call: relax.Call, y: Numbers) -> relax.Expr | None:
        """An operator between layers on integers; None if it has no such form here."""
        operands = list(call.args[0].fields) if isinstance(call.args[0], relax.Tuple) else call.args[:1]
        sources = [self.matcher.source(one) for one in operands]
        if any(one is None for one in sources):
            return None
        if is_spatial_mean(call):
            return self._mean(var, call, sources[0], y)
        if call.op.name == "relax.add" and shape_of(call.args[0]) == shape_of(call.args[1]):
            other = self.matcher.source(call.args[1])
            return None if other is None else self._add(var, sources[0], other, y)
        same = all((self.numbers[one].scale, self.numbers[one].zero) == (y.scale, y.zero) for one in sources)
        if not same or not keeps_numbers(call):
            return None
        given = [self.visit_expr(one) for one in sources]
        if call.op.name == "relax.nn.relu":
            return relax.op.maximum(given[0], relax.const(y.zero, "uint8"))
        if call.op.name == "relax.nn.pad":
            return relax.op.nn.pad(given[0], [int(one) for one in call.attrs.pad_width], "constant", y.zero)
        if call.op.name == "relax.concat":
            return relax.op.concat(given, int(call.attrs.axis))
        return relax.Call(call.op, [given[0], *call.args[1:]], call.attrs)

    def _mean(self, var: relax.Var, call: relax.Call, source: relax.Var, y: Numbers) -> relax.Expr:
        x, shape = self.numbers[source], shape_of(call.args[0])
        multiplier, shift = multipliers(np.array([x.scale / (shape[2] * shape[3] * y.scale)]))
        spec = MeanPoolSpec(var.name, x.zero, int(multiplier[0]), shift, y.zero)
        mean = self._operator(ir_names.MEAN_POOL, spec, [source])
        return mean if len(shape_of(var)) == 4 else relax.op.reshape(self.builder_.emit(mean), shape_of(var))

    def _add(self, var: relax.Var, left: relax.Var, right: relax.Var, y: Numbers) -> relax.Expr:
        one, other = self.numbers[left], self.numbers[right]
        factors = add_multipliers(one.scale / y.scale, other.scale / y.scale)
        return self._operator(ir_names.ADD, AddSpec(var.name, one.zero, other.zero, *factors, y.zero), [left, right])

    def _operator(self, composite: str, spec, sources: list[relax.Expr]) -> relax.Call:
        arguments = [self.visit_expr(one) for one in sources]
        return self.call_operator(quantization_function(composite, spec, arguments), spec.name, arguments)
