"""Floating point before integers is found, and after them it is none of our business."""

from __future__ import annotations

from oracles.graphs import Graph
from oracles.networks import plain
from tvm import relax

from espalier.build import prepare
from espalier.core import ir_names
from espalier.core.integer import DequantizeSpec, QuantizeSpec
from espalier.ir.operators import quantization_function
from espalier.passes.analysis.float_steps import float_steps


def program(between):
    """x -> quantize -> dequantize -> something -> quantize -> dequantize -> relu."""
    g = Graph(1, 4)
    value = g.x
    for number in range(2):
        for composite, spec in (
            (ir_names.QUANTIZE, QuantizeSpec("q", 0.1, 0)),
            (ir_names.DEQUANTIZE, DequantizeSpec("d", 0.1, 0)),
        ):
            function = quantization_function(composite, spec, [value])
            value = g.emit(relax.Call(g.builder.add_func(function, "operator"), [value]), f"{spec.name}{number}")
        value = between(g, value)
    return g.module(value)


def test_floats_between_integers():
    assert float_steps(program(lambda g, value: g.emit(relax.op.sigmoid(value), "s"))) == ["d0", "s"]


def test_a_float32_network_has_no_integers():
    assert float_steps(prepare(plain(8))) == []
