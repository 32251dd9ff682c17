"""Which tensors of a module become integers, and which of them have to have the same scale."""

from __future__ import annotations

from dataclasses import dataclass, field

import tvm
from tvm import relax

from espalier.core import ir_names
from espalier.core.formats import parse_format
from espalier.core.layers import LayerSpec
from espalier.core.plan import Plan
from espalier.ir.dataflow import Dataflow, argument, constant, shape_of

from .tensor_names import is_real

DEFAULT_BITS = 8

KEEPS_NUMBERS = (
    "relax.nn.max_pool2d",
    "relax.nn.relu",
    "relax.nn.pad",
    "relax.concat",
    "relax.strided_slice",
    "relax.reshape",
    "relax.flatten",
    "relax.nn.batch_flatten",
    "relax.squeeze",
    "relax.expand_dims",
    "relax.permute_dims",
)
"""Stock operators that give nothing but numbers they read, or zero: they work on integers as they do on reals."""


@dataclass(frozen=True)
class IntegerTensors:
    """What a plan makes integer in a module after the prune phase.

    layers: names of the layers that compute in integers; left: of those that the plan quantizes but that cannot.
    wanted: tensors that some operator reads as integers.
    integral: those among them that are made as integers; the others are made in float32 and quantized.
    """

    flow: Dataflow
    layers: set[str]
    left: list[str]
    wanted: set[relax.Var]
    integral: set[relax.Var]
    _parents: dict[relax.Var, relax.Var] = field(default_factory=dict)
    _bits: dict[relax.Var, int] = field(default_factory=dict)

    @staticmethod
    def of(mod: tvm.IRModule, plan: Plan) -> IntegerTensors:
        """Decide for every tensor."""
        return _Decision(Dataflow.of(mod), plan).made()

    def root(self, var: relax.Var) -> relax.Var:
        """The tensor that stands for all those that share scale and zero point with `var`."""
        while var in self._parents:
            var = self._parents[var]
        return var

    def members(self) -> dict[relax.Var, list[relax.Var]]:
        """The tensors that share scale and zero point, by the one that stands for them."""
        found: dict[relax.Var, list[relax.Var]] = {}
        for var in (*self.flow.mod["main"].params, *self.flow.values):
            if var in self.wanted:
                found.setdefault(self.root(var), []).append(var)
        return found

    def bits(self, var: relax.Var) -> int:
        """Bits of a tensor: as many as the finest of the layers asks for that read it or one it shares with."""
        return self._bits.get(self.root(var), DEFAULT_BITS)


def quantized_layers(flow: Dataflow, plan: Plan) -> list[LayerSpec]:
    """The float32 layers whose weights the plan has in a quantized format."""
    layers = filter(None, (flow.layer_of(var) for var in flow.values))
    return [
        spec
        for operator, spec, _ in layers
        if operator != ir_names.CHANNEL_GATE and spec.integer is None
        if parse_format(plan.layer(spec.name).weights).is_quantized
    ]


def boosted_layers(flow: Dataflow) -> set[str]:
    """Names of the layers whose gate boosts."""
    layers = filter(None, (flow.layer_of(var) for var in flow.values))
    return {spec.name for operator, spec, _ in layers if operator == ir_names.CHANNEL_GATE and spec.mode == "boost"}


def can_be_boosted(spec: LayerSpec) -> bool:
    """Whether pi can be a factor before the output is limited: of a gate on the output, only with relu or nothing."""
    accepted = ("relu",) if "residual" in spec.roles else ("none", "relu")
    return spec.gate != "output" or spec.activation.kind in accepted


def keeps_numbers(call: relax.Call) -> bool:
    """Whether a stock operator gives nothing but what it reads, or zero."""
    if call.op.name == "relax.nn.pad":
        return float(call.attrs.pad_value) == 0 and str(call.attrs.pad_mode) == "constant"
    if call.op.name == "relax.concat":
        return isinstance(call.args[0], relax.Tuple)
    return call.op.name in KEEPS_NUMBERS


def is_spatial_mean(call: relax.Call) -> bool:
    """Whether a call is the mean over the pixels of each channel."""
    if call.op.name == "relax.nn.adaptive_avg_pool2d":
        return shape_of(call)[2:] == (1, 1) and str(call.attrs.layout) == "NCHW"
    if call.op.name == "relax.nn.avg_pool2d":
        window = tuple(int(size) for size in call.attrs.pool_size)
        return window == shape_of(call.args[0])[2:] and shape_of(call)[2:] == (1, 1) and not any(call.attrs.padding)
    if call.op.name != "relax.mean" or call.attrs.axis is None or len(shape_of(call.args[0])) != 4:
        return False
    return sorted(int(axis) % 4 for axis in call.attrs.axis) == [2, 3]


def sources(call: relax.Call) -> list[relax.Expr]:
    """The operands of a stock operator, those of a concatenation one by one."""
    first = call.args[0]
    return list(first.fields) if isinstance(first, relax.Tuple) else list(call.args)


class _Decision:
    def __init__(self, flow: Dataflow, plan: Plan):
        self.flow, self.plan = flow, plan
        planned, boosted = quantized_layers(flow, plan), boosted_layers(flow)
        left = [spec.name for spec in planned if spec.name in boosted and not can_be_boosted(spec)]
        layers = {spec.name for spec in planned} - set(left)
        self.found = IntegerTensors(flow, layers, left, set(), set())

    def made(self) -> IntegerTensors:
        for var in (*reversed(self.flow.values), *self.flow.mod["main"].params):
            read = is_real(var) and any(self._reads_integers(user, var) for user in self.flow.users[var])
            if read or self._has_to_be_integer(var):
                self.found.wanted.add(var)
        for var in self.flow.values:
            if var in self.found.wanted and self._is_integral(var):
                self.found.integral.add(var)
        self._share()
        self._count_bits()
        return self.found

    def _has_to_be_integer(self, var: relax.Var) -> bool:
        """A quantized layer with a residual or a gate gives integers, whoever reads them."""
        layer = self.flow.layer_of(var) if var in self.flow.values else None
        if not layer or layer[0] == ir_names.CHANNEL_GATE or layer[1].name not in self.found.layers:
            return False
        return layer[1].gate != "none" or "residual" in layer[1].roles

    def _reads_integers(self, user: relax.Var, var: relax.Var) -> bool:
        layer = self.flow.layer_of(user)
        if layer:
            data = (argument(layer[1], layer[2], role) for role in ("x", "residual"))
            return layer[1].name in self.found.layers and any(one is not None and one == var for one in data)
        return user in self.found.wanted and self._has_integer_form(user)

    def _has_integer_form(self, var: relax.Var) -> bool:
        call = self.flow.call_of(var)
        if call is None:
            return False
        if call.op.name == "relax.add":
            left, right = call.args
            return all(constant(one) is None for one in call.args) and shape_of(left) == shape_of(right)
        return keeps_numbers(call) or is_spatial_mean(call)

    def _is_integral(self, var: relax.Var) -> bool:
        layer = self.flow.layer_of(var)
        if layer:
            return layer[1].name in self.found.layers
        call = self.flow.call_of(var)
        return self._has_integer_form(var) and any(one in self.found.integral for one in sources(call))

    def _share(self) -> None:
        for var in self.found.integral:
            call = self.flow.call_of(var)
            if call is not None and keeps_numbers(call):
                for source in sources(call):
                    if source in self.found.wanted:
                        self._join(var, source)

    def _join(self, one: relax.Var, other: relax.Var) -> None:
        one, other = self.found.root(one), self.found.root(other)
        if not one.same_as(other):
            self.found._parents[one] = other

    def _count_bits(self) -> None:
        for user in self.flow.values:
            layer = self.flow.layer_of(user)
            if not layer or layer[1].name not in self.found.layers:
                continue
            bits = parse_format(self.plan.layer(layer[1].name).activations).bits
            for role in ("x", "residual"):
                read = argument(layer[1], layer[2], role)
                if read is not None:
                    root = self.found.root(read)
                    self.found._bits[root] = max(bits, self.found._bits.get(root, 0))
