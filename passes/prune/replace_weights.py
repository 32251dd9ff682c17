"""Weights and biases that calibration fitted anew."""

from __future__ import annotations

from collections.abc import Mapping

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core.calibration import Calibration, LayerWeights, digest
from espalier.core.errors import InvalidInputError
from espalier.core.ir_names import CHANNEL_GATE
from espalier.ir.dataflow import Dataflow, argument, constant
from espalier.ir.operators import layer_function
from espalier.ir.rewriting import BindingRewriter


@tvm.transform.module_pass(opt_level=0, name="ReplaceWeights")
class ReplaceWeights:
    """A layer takes the weight and the bias that the calibration holds for it; a layer without a bias gets one.

    Raises InvalidInputError if the calibration was made for a network with other weights.
    """

    def __init__(self, calibration: Calibration):
        self.calibration = calibration

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main, before gates and lists become arguments of the layers."""
        holds_numbers = self.calibration.ranges or self.calibration.quantized
        made_for_weights = holds_numbers and self.calibration.model_digest
        if not self.calibration.weights and not made_for_weights:
            return mod
        if self.calibration.model_digest != model_digest(mod):
            raise InvalidInputError("calibration: it was made for a network with other weights; calibrate again")
        replacer = _WeightReplacer(mod)
        replacer.configure(self.calibration.weights)
        return replacer.run()


def layer_weights(mod: tvm.IRModule) -> dict[str, LayerWeights]:
    """Weight and bias of every layer of a prepared module, by layer name; zeros where there is no bias."""
    flow = Dataflow.of(mod)
    found = {}
    for layer in filter(None, (flow.layer_of(var) for var in flow.values)):
        operator, spec, call = layer
        if operator != CHANNEL_GATE:
            weight, bias = constant(argument(spec, call, "weight")), argument(spec, call, "bias")
            found[spec.name] = LayerWeights.of(weight, None if bias is None else constant(bias))
    return found


def model_digest(mod: tvm.IRModule) -> str:
    """SHA-256 over the weights and biases of a prepared module."""
    arrays = {}
    for name, one in layer_weights(mod).items():
        arrays[f"{name}/weight"], arrays[f"{name}/bias"] = one.weight, one.bias
    return digest(arrays)


@mutator
class _WeightReplacer(BindingRewriter):
    def configure(self, weights: Mapping[str, LayerWeights]) -> None:
        self.weights = weights

    def rewrite(self, var: relax.Var, value: relax.Expr) -> relax.Expr:
        layer = self.flow.layer_of(var)
        fresh = self.weights.get(layer[1].name) if layer else None
        if fresh is None:
            return self.visit_expr(value)
        _, spec, call = layer
        given = {role: self.visit_expr(expr) for role, expr in zip(spec.roles, call.args)}
        given["weight"], given["bias"] = relax.const(fresh.weight), relax.const(fresh.bias)
        if "bias" not in spec.roles:
            spec = spec.with_arguments("bias")
        return self.call_operator(layer_function(spec, list(given.values())), spec.name, list(given.values()))
