"""Small networks of quantized operators, built by hand."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import tvm
from tvm import relax

from espalier.core import ir_names
from espalier.core.integer import (
    AddSpec,
    DequantizeSpec,
    GateArithmetic,
    LayerArithmetic,
    MeanPoolSpec,
    QuantizeSpec,
    ResidualArithmetic,
    multipliers,
)
from espalier.core.layers import ActiveList, ChannelGateSpec, Conv2dSpec, DenseSpec
from espalier.ir.dataflow import shape_of
from espalier.ir.operators import channel_gate_function, layer_function, quantization_function

ZERO = 3
"""The zero point of every tensor that is not gated."""


class IntegerNetwork:
    """Collects operators; weights are random. boosts: whether gates boost."""

    def __init__(self, *shape: int, seed: int = 0, boosts: bool = True):
        self.random, self.boosts, self.gates = np.random.default_rng(seed), boosts, itertools.count()
        self.builder, self.scopes = relax.BlockBuilder(), contextlib.ExitStack()
        self.x = relax.Var("x", relax.TensorType(shape, "float32"))
        self.scopes.enter_context(self.builder.function("main", [self.x]))
        self.dataflow = self.scopes.enter_context(contextlib.ExitStack())
        self.dataflow.enter_context(self.builder.dataflow())

    def module(self, result: relax.Expr) -> tvm.IRModule:
        output = self.builder.emit_output(result)
        self.dataflow.close()
        self.builder.emit_func_output(output)
        self.scopes.close()
        return self.builder.get()

    def emit(self, expr: relax.Expr) -> relax.Var:
        return self.builder.emit(expr)

    def operator(self, function, *arguments: relax.Expr) -> relax.Var:
        return self.emit(relax.Call(self.builder.add_func(function, "operator"), list(arguments)))

    def between(self, composite: str, spec, *arguments: relax.Expr) -> relax.Var:
        return self.operator(quantization_function(composite, spec, arguments), *arguments)

    def quantize(self, x, scale: float = 0.02, zero: int = ZERO) -> relax.Var:
        return self.between(ir_names.QUANTIZE, QuantizeSpec("in", scale, zero), x)

    def dequantize(self, x, scale: float = 0.02, zero: int = ZERO) -> relax.Var:
        return self.between(ir_names.DEQUANTIZE, DequantizeSpec("out", scale, zero), x)

    def mean_pool(self, x, zero: int = ZERO) -> relax.Var:
        _, _, rows, columns = shape_of(x)
        multiplier, shift = multipliers(np.array([1 / (rows * columns)]))
        return self.between(ir_names.MEAN_POOL, MeanPoolSpec("mean", zero, int(multiplier[0]), shift, ZERO), x)

    def add(self, x, y) -> relax.Var:
        return self.between(ir_names.ADD, AddSpec("add", ZERO, ZERO, 600_000, 500_001, 20, ZERO), x, y)

    def constants(self, weight_shape, zero: int, has_pi: bool, is_real: bool = False) -> dict:
        """weight, bias, and multipliers that bring sums to the scale of bytes."""
        channels = weight_shape[0]
        scales = 90 / (74 * 74 * np.prod(weight_shape[1:]) ** 0.5) * self.random.uniform(0.5, 2, channels)
        multiplier, self.shift = multipliers(scales / (100 if has_pi else 1), 16 if has_pi else 24)
        arrays = {
            "weight": self.random.integers(-128, 128, weight_shape).astype("int8"),
            "bias": self.random.integers(-9000, 9000, channels).astype("int32"),
        }
        arrays |= {"scale": scales.astype("float32")} if is_real else {"multiplier": multiplier}
        return {role: relax.const(array) for role, array in arrays.items()}

    def conv(self, x, channels: int, kernel: int = 3, stride: int = 1, x_zero: int = ZERO, groups: int = 1, **more):
        """more: residual, gate (kind, spec, pi and winners), active (spec, list)."""
        given = {"x": x, **self.constants((channels, shape_of(x)[1] // groups, kernel, kernel), x_zero, "gate" in more)}
        lists, zero, kind = {}, ZERO, "none"
        if "residual" in more:
            given["residual"] = more["residual"]
        if "gate" in more:
            kind, lists["winners"], pi, winners = more["gate"]
            given |= {"winners": winners} if kind == "listed" else {"pi": pi, "winners": winners}
            zero = ZERO if kind == "branch" else 0
        if "active" in more:
            lists["active"], given["active"] = more["active"]
        arithmetic = LayerArithmetic(
            x_zero, self.shift, zero, residual=ResidualArithmetic(ZERO) if "residual" in more else None, pi_shift=7
        )
        spec = Conv2dSpec(
            f"conv{next(self.numbers)}",
            tuple(given),
            gate=kind,
            format="int8",
            out_format="uint8",
            integer=arithmetic,
            strides=(stride, stride),
            padding=(kernel // 2,) * 4,
            groups=groups,
            **lists,
        )
        return self.operator(layer_function(spec, list(given.values())), *given.values())

    def gate(self, x, channels: int, granularity: int, kept: int, x_zero: int = ZERO, active=None):
        """(spec of the list, pi, winners)."""
        _, c_in, rows, columns = shape_of(x)
        multiplier, shift = multipliers(np.array([1 / (rows * columns)]))
        arithmetic = GateArithmetic(x_zero, int(multiplier[0]), shift, 3, 9)
        roles = ("x", "phi", "rho", "active") if active else ("x", "phi", "rho")
        mode = "boost" if self.boosts else "select"
        spec = ChannelGateSpec(
            f"gate{next(self.gates)}", mode, granularity, kept, roles, active and active[0], integer=arithmetic
        )
        phi = relax.const(self.random.integers(-128, 128, (c_in, channels)).astype("int8"))
        rho = relax.const(self.random.integers(0, 9000, channels).astype("int32"))
        arguments = [x, phi, rho, *([active[1]] if active else [])]
        both = self.operator(channel_gate_function(spec, arguments), *arguments)
        pi, winners = (self.emit(relax.TupleGetItem(both, i)) for i in range(2))
        return ActiveList(kept, granularity), pi, winners

    def dense(self, x, channels: int, is_real: bool = True, levels: int | None = None):
        given = {"x": x, **self.constants((channels, shape_of(x)[1]), ZERO, False, is_real)}
        if levels:
            weight = self.random.choice(np.arange(-levels, levels, 2), (channels, shape_of(x)[1]))
            given["weight"] = relax.const(weight.astype("int8"))
        spec = DenseSpec(
            f"fc{next(self.numbers)}",
            tuple(given),
            format="int8",
            out_format="float32" if is_real else "uint8",
            integer=LayerArithmetic(ZERO, self.shift, ZERO),
        )
        return self.operator(layer_function(spec, list(given.values())), *given.values())

    @property
    def numbers(self):
        """Numbers for names."""
        self.__dict__.setdefault("_numbers", iter(range(1000)))
        return self._numbers


def residual_network(channels: int, size: int = 17, batch: int = 2) -> tvm.IRModule:
    """A strided stem, a block with a residual, one with a shortcut, an add, a mean, and two dense layers."""
    g = IntegerNetwork(batch, 3, size, size + 2)
    y = g.conv(g.quantize(g.x), channels, 7, 2)
    y = g.emit(relax.op.nn.max_pool2d(y, (3, 3), (2, 2), (1, 1)))
    y = g.conv(g.conv(y, channels), channels, residual=y)
    z = g.conv(g.conv(y, 2 * channels, stride=2), 2 * channels, residual=g.conv(y, 2 * channels, 1, 2))
    z = g.add(z, g.conv(z, 2 * channels, groups=2 * channels))
    z = g.emit(relax.op.reshape(g.mean_pool(z), (batch, 2 * channels)))
    return g.module(g.dense(g.dense(z, 33, False, levels=8), 10))


def option_a_network(channels: int, batch: int = 2) -> tvm.IRModule:
    """A shortcut of every second pixel, with channels of the zero point on both sides."""
    g = IntegerNetwork(batch, 3, 9, 8)
    y = g.conv(g.quantize(g.x), channels)
    short = g.emit(relax.op.strided_slice(y, [2, 3], [0, 0], [9, 8], [2, 2]))
    short = g.emit(relax.op.nn.pad(short, [0, 0, channels // 2, channels // 2, 0, 0, 0, 0], "constant", ZERO))
    return g.module(g.dequantize(g.conv(y, 2 * channels, stride=2, residual=short)))


def gated_network(channels: int, granularity: int, kind: str, boosts: bool, batch: int = 2) -> tvm.IRModule:
    """Gates on inner layers and, with the kind "branch", before an add; lists on both sides."""
    g = IntegerNetwork(batch, 3, 9, 8, boosts=boosts)
    y = g.conv(g.quantize(g.x), channels)
    kept = max(1, channels // granularity // 2)
    listed, pi, winners = g.gate(y, channels, granularity, kept)
    inner = g.conv(y, channels, gate=("output", listed, pi, winners))
    depthwise = g.conv(inner, channels, x_zero=0, groups=channels, gate=("listed", listed, pi, winners))
    active = (listed, winners)
    own, own_pi, own_winners = g.gate(depthwise, channels, granularity, kept, 0, active)
    more = {"gate": (kind, own, own_pi, own_winners), "active": active, "x_zero": 0}
    last = g.conv(depthwise, channels, residual=y, **more)
    zero = ZERO if kind == "branch" else 0
    return g.module(g.dequantize(g.conv(last, 5, 1, x_zero=zero)))
