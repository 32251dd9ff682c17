"""Stock operators between quantized layers, and where reals and integers become each other."""

from __future__ import annotations

import numpy as np
from tvm import relax

from espalier.core import ir_names
from espalier.core.calibration import Range
from espalier.core.errors import InvalidPlanError
from espalier.core.integer import AddSpec, DequantizeSpec, MeanPoolSpec, QuantizeSpec, multipliers
from espalier.ir.dataflow import shape_of
from espalier.ir.operators import quantization_function

from .integer_tensors import is_spatial_mean, sources
from .residuals import add_multipliers


class StockOnIntegers:
    """The integer forms of tensors in a program that is being rewritten, made when they are first asked for.

    rewriting: the pass at work; it knows the numbers of each tensor.
    """

    def __init__(self, rewriting):
        self.rewriting, self.made = rewriting, {}
        self.has_reals = set(rewriting.flow.mod["main"].params)

    def store(self, var: relax.Var, value: relax.Expr) -> None:
        """Emit `value` as the integers of an old variable."""
        self.made[var] = self.rewriting.emit_named(value, var.name)

    def integers(self, var: relax.Var) -> relax.Var:
        """The uint8 form of an old variable; quantized here if it was made in float32."""
        if var not in self.made:
            numbers, name = self.rewriting.numbers[var], self.rewriting.names[var]
            spec = QuantizeSpec(name, numbers.scale, numbers.zero, high=numbers.top)
            self.made[var] = self._emit(ir_names.QUANTIZE, spec, [self.rewriting.visit_expr(var)])
        return self.made[var]

    def read_reals(self, value: relax.Expr) -> None:
        """Make the float32 form of all that `value` reads; it is what the old variables become there."""
        for read in relax.analysis.free_vars(value):
            if read in self.made and read in self.rewriting.found.integral and read not in self.has_reals:
                self.has_reals.add(read)
                self.rewriting.set_var_remap(read, self.rewriting.builder_.emit(self.dequantized(read)))

    def dequantized(self, var: relax.Var) -> relax.Call:
        """The call that gives the float32 form of an old variable."""
        numbers = self.rewriting.numbers[var]
        spec = DequantizeSpec(self.rewriting.names[var], numbers.scale, numbers.zero)
        arguments = [self.made[var]]
        function = quantization_function(ir_names.DEQUANTIZE, spec, arguments)
        return self.rewriting.call_operator(function, spec.name, arguments)

    def range_of(self, name: str) -> Range:
        """The range that was observed under this name."""
        found = self.rewriting.ranges.get(name)
        if found is None:
            raise InvalidPlanError(f"plan: the calibration has no range for {name!r}; calibrate again for this plan")
        return found

    def rewrite(self, var: relax.Var) -> None:
        """A stock operator on integers."""
        call = self.rewriting.flow.call_of(var)
        if call.op.name == "relax.add":
            self._add(var, call)
        elif is_spatial_mean(call):
            self._mean(var, call)
        else:
            self.store(var, self._kept(var, call))

    def _kept(self, var: relax.Var, call: relax.Call) -> relax.Expr:
        zero = self.rewriting.numbers[var].zero
        first = self.integers(sources(call)[0])
        if call.op.name == "relax.nn.relu":
            return relax.op.maximum(first, relax.const(zero, "uint8")) if zero else first
        if call.op.name == "relax.nn.pad":
            return relax.op.nn.pad(first, [int(one) for one in call.attrs.pad_width], "constant", zero)
        if call.op.name == "relax.concat":
            return relax.op.concat([self.integers(one) for one in sources(call)], int(call.attrs.axis))
        rest = [self.rewriting.visit_expr(one) for one in call.args[1:]]
        return relax.Call(call.op, [first, *rest], call.attrs)

    def _mean(self, var: relax.Var, call: relax.Call) -> None:
        source, y = call.args[0], self.rewriting.numbers[var]
        x = self.rewriting.numbers[source]
        pixels = int(np.prod(shape_of(source)[2:]))
        multiplier, shift = multipliers(np.array([x.scale / (pixels * y.scale)]))
        spec = MeanPoolSpec(self.rewriting.names[var], x.zero, int(multiplier[0]), shift, y.zero, high=y.top)
        mean = self._emit(ir_names.MEAN_POOL, spec, [self.integers(source)])
        if len(shape_of(var)) == 2:
            mean = self.rewriting.builder_.emit(relax.op.reshape(mean, shape_of(var)))
        self.made[var] = mean

    def _add(self, var: relax.Var, call: relax.Call) -> None:
        left, right = (self.rewriting.numbers[one] for one in call.args)
        y = self.rewriting.numbers[var]
        own, other, shift = add_multipliers(left.scale / y.scale, right.scale / y.scale)
        spec = AddSpec(self.rewriting.names[var], left.zero, right.zero, own, other, shift, y.zero, high=y.top)
        self.made[var] = self._emit(ir_names.ADD, spec, [self.integers(one) for one in call.args])

    def _emit(self, composite: str, spec, arguments: list) -> relax.Var:
        function = quantization_function(composite, spec, arguments)
        call = self.rewriting.call_operator(function, f"{spec.name}.{composite.rsplit('.', 1)[-1]}", arguments)
        return self.rewriting.builder_.emit(call)
