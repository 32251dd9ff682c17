"""Layers that a plan quantizes become integer arithmetic, and so does what lies between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core import ir_names
from espalier.core.calibration import Range
from espalier.core.errors import InvalidInputError
from espalier.core.formats import Format, parse_format
from espalier.core.integer import LayerArithmetic
from espalier.core.layers import Activation, ChannelGateSpec, LayerSpec
from espalier.core.plan import Plan
from espalier.core.quantized_weights import QuantizedWeights
from espalier.ir.dataflow import constant, shape_of
from espalier.ir.operators import activate, channel_gate_function, layer_function
from espalier.ir.rewriting import BindingRewriter

from .gate_arrays import NO_BOOST, Boost, boost_of, gate_arrays
from .integer_tensors import IntegerTensors
from .layer_arrays import SILENT_PART, SILENT_STEP, LayerArrays, layer_arrays
from .limits import limits
from .residuals import residual_arithmetic
from .scales import Numbers, numbers_of
from .stock_on_integers import StockOnIntegers
from .tensor_names import gate_names, tensor_names


@tvm.transform.module_pass(opt_level=0, name="RewriteToInteger")
class RewriteToInteger:
    """A layer with weights in a quantized format reads and gives uint8, and so does its gate (DESIGN.md, contract 3).

    Tensors are quantized where integers are read and none are made: at the network's inputs, and behind what stays in
    float32. A layer that only float32 operators read gives float32 itself.

    ranges: of the activations, by the names of `tensor_names`. quantized: codes of layers that are not fitted any more.

    Raises InvalidPlanError if a range is missing, if a format cannot have a layer's weights, or if int32 may not hold
    a layer's sums; InvalidInputError for codes of another format or shape than the layer's.
    """

    def __init__(
        self, plan: Plan, ranges: Mapping[str, Range], quantized: Mapping[str, QuantizedWeights] = MappingProxyType({})
    ):
        self.plan, self.ranges, self.quantized = plan, ranges, quantized

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main, after the prune phase."""
        found = IntegerTensors.of(mod, self.plan)
        if not found.layers and not found.left:
            return mod
        rewriter = _Rewriter(mod)
        rewriter.configure(self.plan, self.ranges, self.quantized, found)
        return rewriter.run()


@mutator
class _Rewriter(BindingRewriter):
    def configure(
        self,
        plan: Plan,
        ranges: Mapping[str, Range],
        quantized: Mapping[str, QuantizedWeights],
        found: IntegerTensors,
    ) -> None:
        self.plan, self.ranges, self.quantized, self.found = plan, ranges, quantized, found
        self.names = tensor_names(found.flow)
        self.numbers: dict[relax.Var, Numbers] = numbers_of(found, self.names, ranges)
        self.stock = StockOnIntegers(self)
        self.boosts: dict[str, Boost] = {}
        self.remarks += [f"{name}: stays in float32: its gate boosts what its activation limits" for name in found.left]
        self.remarks += [
            f"{self.names[var]}: computed in float32 and quantized again"
            for var in self.flow.values
            if var in found.wanted - found.integral and self.flow.call_of(var) is not None
        ]
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
            self.stock.read_reals(binding.value)
            super().visit_var_binding_(binding)
        if var in self.found.integral and not isinstance(var, relax.DataflowVar):
            self.bind(var, self.stock.dequantized(var))

    def _layer(self, var: relax.Var, spec: LayerSpec, call: relax.Call) -> None:
        given = dict(zip(spec.roles, call.args))
        x, y, boost = self.numbers[given["x"]], self.numbers.get(var), self.boosts.get(spec.name, NO_BOOST)
        fmt = parse_format(self.plan.layer(spec.name).weights)
        bias = None if "bias" not in given else constant(given["bias"])
        least_step = y and y.scale / boost.most
        arrays = layer_arrays(spec.name, self._weight(spec.name, given, fmt), bias, fmt, x, least_step)
        if arrays.left_out:
            count = f"{arrays.left_out} of {len(arrays.scale)} channels"
            self.remarks.append(
                f"{spec.name}: the weights of {count} are left out: they move their channel by less than "
                f"{SILENT_STEP:g} of a step or {SILENT_PART:.1g} of its bias"
            )
        roles = self._arguments(spec, given, arrays)
        if y is None:
            self._real_layer(var, spec, fmt, roles, arrays.scale, LayerArithmetic(x.zero))
            return
        multiplier, shift = arrays.multiplier(y.scale / boost.inside, boost.multiplier_bits)
        roles["multiplier"] = relax.const(multiplier)
        low, high = limits(spec.activation, y)
        residual = residual_arithmetic(self.numbers[given["residual"]], y) if "residual" in given else None
        arithmetic = LayerArithmetic(x.zero, shift, y.zero, low, high, residual, boost.shift or 0)
        self.stock.store(var, self._call(spec, fmt, roles, arithmetic, "uint8"))

    def _weight(self, name: str, given: dict, fmt: Format) -> np.ndarray | QuantizedWeights:
        weight, codes = constant(given["weight"]), self.quantized.get(name)
        if codes is not None and (codes.format != fmt or codes.codes.shape != weight.shape):
            raise InvalidInputError(
                f"calibration, layer {name!r}: its codes are {codes.format} {list(codes.codes.shape)}, "
                f"accepted is {fmt} {list(weight.shape)}"
            )
        return weight if codes is None else codes

    def _real_layer(self, var, spec: LayerSpec, fmt: Format, roles: dict, scale: np.ndarray, arithmetic) -> None:
        """A layer whose output nobody reads as integers; its activation follows in float32."""
        roles["scale"] = relax.const(scale.astype(np.float32))
        result = self._call(spec, fmt, roles, arithmetic, "float32")
        if spec.activation.kind != "none":
            result = activate(spec.activation, self.emit_named(result, spec.name))
        self.bind(var, result)

    def _call(self, spec: LayerSpec, fmt: Format, roles: dict, arithmetic: LayerArithmetic, out: str) -> relax.Call:
        integer = dataclasses.replace(
            spec,
            roles=tuple(roles),
            activation=Activation(),
            gate="listed" if spec.gate == "output" and "pi" not in roles else spec.gate,
            active=spec.active if "active" in roles else None,
            format="int8",
            out_format=out,
            integer=arithmetic,
            weight_format=str(fmt),
        )
        arguments = list(roles.values())
        return self.call_operator(layer_function(integer, arguments), spec.name, arguments)

    def _arguments(self, spec: LayerSpec, given: dict, arrays: LayerArrays) -> dict[str, relax.Expr]:
        """The arguments of the integer layer by role, but for what brings the sums to the output's scale."""
        roles = {"x": self.stock.integers(given["x"]), "weight": relax.const(arrays.weight)}
        if arrays.bias.any():
            roles["bias"] = relax.const(arrays.bias)
        if "residual" in given:
            roles["residual"] = self.stock.integers(given["residual"])
        if spec.name in self.boosts:
            roles["pi"] = self.visit_expr(given["pi"])
        for role in ("winners", "active"):
            if role in given:
                roles[role] = self.visit_expr(given[role])
        self._drop_list(spec.name, given, roles)
        return roles

    def _drop_list(self, name: str, given: dict, roles: dict) -> None:
        """A list of active channels says that the others are the number 0, which must then be the real 0."""
        if "active" in roles and self.numbers[given["x"]].zero:
            del roles["active"]
            self.remarks.append(f"{name}: computes densely: its input has negative values, so its zero is no number 0")

    def _gate(self, var: relax.Var, spec: ChannelGateSpec, call: relax.Call) -> None:
        given = dict(zip(spec.roles, call.args))
        most_mean, most_pi = (self.stock.range_of(name).high for name in gate_names(spec.name))
        boost = boost_of(spec, self.layer_specs[spec.name], most_pi)
        if boost is not None:
            self.boosts[spec.name] = boost
        pixels = int(np.prod(shape_of(given["x"])[2:]))
        arithmetic, phi, rho = gate_arrays(
            spec,
            constant(given["phi"]),
            constant(given["rho"]),
            self.numbers[given["x"]],
            pixels,
            most_mean,
            boost.scale if boost else NO_BOOST.scale,
        )
        roles = {"x": self.stock.integers(given["x"]), "phi": relax.const(phi), "rho": relax.const(rho)}
        if "active" in given:
            roles["active"] = self.visit_expr(given["active"])
        self._drop_list(f"{spec.name} (its gate)", given, roles)
        active = spec.active if "active" in roles else None
        integer = dataclasses.replace(spec, roles=tuple(roles), active=active, integer=arithmetic)
        arguments = list(roles.values())
        self.bind(var, self.call_operator(channel_gate_function(integer, arguments), f"{spec.name}.gate", arguments))
