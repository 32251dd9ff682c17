"""Small networks in Relax, and gates for them."""

from __future__ import annotations

import contextlib

import numpy as np
import tvm
from tvm import relax

from espalier.build import prepare
from espalier.core.calibration import Calibration, Gate
from espalier.core.ir_names import CHANNEL_GATE
from espalier.core.plan import Plan
from espalier.ir.dataflow import Dataflow, shape_of
from espalier.passes import pipeline
from espalier.passes.analysis.gate_sites import GateSites


class Graph:
    """Collects operators; weights are random constants and a product carries the name it is given."""

    def __init__(self, *shape: int, seed: int = 0):
        self.random = np.random.default_rng(seed)
        self.builder, self.scopes = relax.BlockBuilder(), contextlib.ExitStack()
        self.x = relax.Var("x", relax.TensorType(shape, "float32"))
        self.scopes.enter_context(self.builder.function("main", [self.x]))
        self.dataflow = self.scopes.enter_context(contextlib.ExitStack())
        self.dataflow.enter_context(self.builder.dataflow())

    def emit(self, expr: relax.Expr, name: str = "") -> relax.Var:
        """Bind an expression to a variable, of exactly this name if one is given."""
        if not name:
            return self.builder.emit(expr)
        value = self.builder.normalize(expr)
        var = relax.DataflowVar(name, value.ty)
        self.builder.emit_normalized(relax.VarBinding(var, value))
        return var

    def constant(self, *shape: int, low: float = -0.5, high: float = 0.5) -> relax.Expr:
        """A float32 constant with uniform random values."""
        return relax.const(self.random.uniform(low, high, shape).astype("float32"))

    def conv(
        self, x, name: str, c_out: int, kernel: int = 3, bias: bool = True, padding=None, groups: int = 1, **attrs
    ):
        """A convolution; its padding keeps the size at stride 1, its weights keep the scale of values."""
        fan_in = shape_of(x)[1] // groups * kernel * kernel
        bound = (3 / fan_in) ** 0.5
        weight = self.constant(c_out, shape_of(x)[1] // groups, kernel, kernel, low=-bound, high=bound)
        padding = kernel // 2 if padding is None else padding
        y = self.emit(relax.op.nn.conv2d(x, weight, padding=padding, groups=groups, **attrs), name)
        return self.emit(relax.op.add(y, self.constant(1, c_out, 1, 1))) if bias else y

    def batch_norm(self, x):
        """Normalisation over axis 1 with positive scale and variance."""
        channels = shape_of(x)[1]
        statistics = [self.constant(channels, low=low) for low in (0.1, -0.5, -0.5, 0.1)]
        return self.emit(
            relax.TupleGetItem(self.emit(relax.op.nn.batch_norm(x, *statistics, axis=1, training=False)), 0)
        )

    def relu(self, x):
        """max(x, 0)."""
        return self.emit(relax.op.nn.relu(x))

    def dense(self, x, name: str, c_out: int, bias: bool = True):
        """A product with a constant matrix."""
        bound = (3 / shape_of(x)[1]) ** 0.5
        y = self.emit(relax.op.matmul(x, self.constant(shape_of(x)[1], c_out, low=-bound, high=bound)), name)
        return self.emit(relax.op.add(y, self.constant(c_out))) if bias else y

    def head(self, x, name: str = "fc", c_out: int = 5):
        """The mean over pixels and a dense layer."""
        return self.dense(self.emit(relax.op.mean(x, axis=[2, 3])), name, c_out)

    def module(self, *outputs: relax.Expr) -> tvm.IRModule:
        """The finished network."""
        result = outputs[0] if len(outputs) == 1 else relax.Tuple(list(outputs))
        result = self.builder.emit_output(result)
        self.dataflow.close()
        self.builder.emit_func_output(result)
        self.scopes.close()
        return self.builder.get()


def assert_unchanged(after: tvm.IRModule, before: tvm.IRModule) -> None:
    """Raise unless main is what it was, but for bindings that nothing uses."""
    tvm.ir.assert_structural_equal(after["main"], relax.transform.DeadCodeElimination()(before)["main"])


def layers(mod: tvm.IRModule) -> dict[str, tuple]:
    """(operator, spec, call) of each Espalier operator in main, by the layer's name, a gate's with ".gate" after it."""
    flow = Dataflow.of(mod)
    found = [flow.layer_of(var) for var in flow.values if flow.layer_of(var)]
    return {spec.name + ".gate" * (operator == CHANNEL_GATE): (operator, spec, call) for operator, spec, call in found}


def specs(mod: tvm.IRModule) -> dict:
    """The spec of each Espalier operator in main, by the names that `layers` gives."""
    return {name: spec for name, (_, spec, _) in layers(mod).items()}


def pruned(mod: tvm.IRModule, plan: Plan, mode: str = "select") -> tvm.IRModule:
    """The prepared module after the prune phase, with random gates."""
    return pipeline.apply(prepare(mod), pipeline.prune_phase(plan, random_calibration(mod, plan, mode)))


def planned(mod: tvm.IRModule, plan: Plan, mode: str = "select") -> tvm.IRModule:
    """The prepared module after every phase of the plan, with random gates."""
    return pipeline.apply(pruned(mod, plan, mode), pipeline.quantize_phase(plan, Calibration()))


def random_calibration(mod: tvm.IRModule, plan: Plan, mode: str = "select", seed: int = 0) -> Calibration:
    """Gates for every site of the plan in a module that is prepared or not; their saliencies are about one."""
    random = np.random.default_rng(seed)
    gates = {}
    for site in GateSites.of(prepare(mod), plan).sites.values():
        phi = random.normal(0, site.channels_in**-0.5, (site.channels_in, site.channels_out))
        rho = random.uniform(0.5, 1.0, site.channels_out)
        gates[site.name] = Gate(phi.astype("float32"), rho.astype("float32"), mode)
    return Calibration(gates)
