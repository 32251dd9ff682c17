"""Layers that a plan quantizes become integer arithmetic, and so does what lies between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core import ir_names
from espalier.core.calibration import Range
from espalier.core.formats import parse_format
from espalier.core.integer import MULTIPLIER_BITS, LayerArithmetic, ResidualArithmetic
from espalier.core.layers import Activation, ChannelGateSpec, LayerSpec
from espalier.core.plan import Plan
from espalier.ir.dataflow import argument, constant, shape_of
from espalier.ir.operators import activate, channel_gate_function, layer_function
from espalier.ir.rewriting import BindingRewriter

from .gate_arrays import gate_arrays, power_of_two_scale
from .integer_tensors import IntegerTensors
from .layer_arrays import MOST, LayerArrays, layer_arrays
from .residuals import residual_arithmetic
from .scales import Numbers, numbers_of
from .stock_on_integers import StockOnIntegers
from .tensor_names import gate_names, tensor_names

PI_BITS = 16
"""Of a multiplier that a gate's pi is multiplied with."""


@tvm.transform.module_pass(opt_level=0, name="RewriteToInteger")
class RewriteToInteger:
    """A layer with weights in a quantized format reads and gives uint8, and so does its gate (DESIGN.md, contract 3).

    Tensors are quantized where integers are read and none are made: at the network's inputs, and behind what stays in
    float32. A layer that only float32 operators read gives float32 itself.

    ranges: of the activations, by the names of `tensor_names`.

    Raises InvalidPlanError if a range is missing, if a format cannot have a layer's weights, or if int32 may not hold
    a layer's sums.
    """

    def __init__(self, plan: Plan, ranges: Mapping[str, Range]):
        self.plan, self.ranges = plan, ranges

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main, after the prune phase."""
        found = IntegerTensors.of(mod, self.plan)
        if not found.layers:
            return mod
        rewriter = _Rewriter(mod)
        rewriter.configure(self.plan, self.ranges, found)
        return rewriter.run()


@mutator
class _Rewriter(BindingRewriter):
    def configure(self, plan: Plan, ranges: Mapping[str, Range], found: IntegerTensors) -> None:
        self.plan, self.ranges, self.found = plan, ranges, found
        self.names = tensor_names(found.flow)
        self.numbers: dict[relax.Var, Numbers] = numbers_of(found, self.names, ranges)
        self.stock = StockOnIntegers(self)
        self.pi_scales: dict[str, float] = {}
        self.gate_modes: dict[str, str] = {}
        self.layer_specs = {
            spec.name: spec
            for operator, spec, _ in filter(None, map(self.flow.layer_of, self.flow.values))
            if operator != ir_names.CHANNEL_GATE
        }

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        var, layer = binding.var, self.flow.layer_of(binding.var)
        if layer and layer[1].name in self.found.layers:
            rewrite = self._gate if layer[0] == ir_names.CHANNEL_GATE else self._layer
            rewrite(var, layer[1], layer[2])
        elif var in self.found.integral:
            self.stock.rewrite(var)
        else:
            self.stock.read_reals(var, binding.value)
            super().visit_var_binding_(binding)
        if var in self.found.integral and not isinstance(var, relax.DataflowVar):
            self.bind(var, self.stock.dequantized(var))

    def _layer(self, var: relax.Var, spec: LayerSpec, call: relax.Call) -> None:
        given = dict(zip(spec.roles, call.args))
        x, y = self.numbers[given["x"]], self.numbers.get(var)
        fmt = parse_format(self.plan.layer(spec.name).weights)
        boosts = self.gate_modes.get(spec.name) == "boost" and "pi" in given
        pi_scale = self.pi_scales[spec.name] if boosts else 1.0
        after_residual = spec.gate == "output" and "residual" in given
        least_step = None if y is None else y.scale / (MOST * pi_scale if boosts else 1)
        bias = None if "bias" not in given else constant(given["bias"])
        arrays = layer_arrays(spec.name, constant(given["weight"]), bias, fmt, x, least_step)
        roles = self._arguments(spec, given, arrays)
        activation = spec.activation
        changes = {"format": "int8", "weight_format": str(fmt), "activation": Activation()}
        if y is None:
            roles["scale"] = relax.const(arrays.scale.astype(np.float32))
            changes["integer"] = LayerArithmetic(x.zero)
        else:
            inside = boosts and not after_residual
            factor, bits = (pi_scale, PI_BITS) if inside else (1.0, MULTIPLIER_BITS)
            multiplier, shift = arrays.multiplier(y.scale / factor, bits)
            roles["multiplier"] = relax.const(multiplier)
            low, high = _limits(activation, y)
            residual = self._residual(given, y)
            pi_shift = round(-np.log2(pi_scale)) if boosts and after_residual else 0
            changes["integer"] = LayerArithmetic(x.zero, shift, y.zero, low, high, residual, pi_shift)
            changes["out_format"] = "uint8"
        if not boosts:
            roles.pop("pi", None)
            changes["gate"] = "listed" if spec.gate == "output" else spec.gate
        if "active" not in roles:
            changes["active"] = None
        integer = dataclasses.replace(spec, roles=tuple(roles), **changes)
        result = self.call_operator(layer_function(integer, list(roles.values())), spec.name, list(roles.values()))
        if y is not None:
            self.stock.store(var, result)
        else:
            self.bind(var, activate(activation, self._emitted(result, activation, spec.name)))

    def _emitted(self, result: relax.Call, activation: Activation, name: str) -> relax.Expr:
        return result if activation.kind == "none" else self.emit_named(result, name)

    def _arguments(self, spec: LayerSpec, given: dict, arrays: LayerArrays) -> dict[str, relax.Expr]:
        """The arguments of the integer layer by role, but for what brings the sums to the output's scale."""
        roles = {"x": self.stock.integers(given["x"]), "weight": relax.const(arrays.weight)}
        if arrays.bias.any():
            roles["bias"] = relax.const(arrays.bias)
        for role in ("residual", "pi", "winners", "active"):
            if role == "residual" and role in given:
                roles[role] = self.stock.integers(given[role])
            elif role in given:
                roles[role] = self.visit_expr(given[role])
        self._drop_list(spec.name, given, roles)
        return roles

    def _drop_list(self, name: str, given: dict, roles: dict) -> None:
        """A list of active channels says that the others are the number 0, which must then be the real 0."""
        if "active" in roles and self.numbers[given["x"]].zero:
            del roles["active"]
            self.remarks.append(f"{name}: computes densely: its input has negative values, so its zero is no number 0")

    def _residual(self, given: dict, y: Numbers) -> ResidualArithmetic | None:
        if "residual" not in given:
            return None
        return residual_arithmetic(self.numbers[given["residual"]], y)

    def _gate(self, var: relax.Var, spec: ChannelGateSpec, call: relax.Call) -> None:
        given = dict(zip(spec.roles, call.args))
        x, (mean_name, pi_name) = self.numbers[given["x"]], gate_names(spec.name)
        pixels = int(np.prod(shape_of(given["x"])[2:]))
        most_mean, most_pi = (self.stock.range_of(name).high for name in (mean_name, pi_name))
        layer = self.layer_specs[spec.name]
        if spec.mode == "boost" and layer.gate == "output" and "residual" in layer.roles:
            pi_scale = 2.0 ** -power_of_two_scale(most_pi)
        else:
            pi_scale = (most_pi or 1.0) / MOST
        self.pi_scales[spec.name], self.gate_modes[spec.name] = pi_scale, spec.mode
        phi, rho = (constant(argument(spec, call, role)) for role in ("phi", "rho"))
        arithmetic, phi, rho = gate_arrays(spec, phi, rho, x, pixels, most_mean, pi_scale)
        roles = {"x": self.stock.integers(given["x"]), "phi": relax.const(phi), "rho": relax.const(rho)}
        if "active" in given:
            roles["active"] = self.visit_expr(given["active"])
        self._drop_list(f"{spec.name} (its gate)", given, roles)
        active = spec.active if "active" in roles else None
        integer = dataclasses.replace(spec, roles=tuple(roles), active=active, integer=arithmetic)
        arguments = list(roles.values())
        self.bind(var, self.call_operator(channel_gate_function(integer, arguments), f"{spec.name}.gate", arguments))


def _limits(activation: Activation, y: Numbers) -> tuple[int, int]:
    """The numbers to which the activation limits the output."""
    if activation.kind == "relu":
        return y.zero, y.top
    if activation.kind == "clip":
        return y.of(activation.low), y.of(activation.high)
    return 0, y.top
