"""Evaluates a prepared module over many samples, value by value, so that a caller can look and step in.

Float32 layers are computed by numpy for all samples at once; every other binding is compiled alone and run at the
model's own batch. A value is an array [G, *shape]: G groups of the model's batch, or a tuple of such arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from espalier.codegen.cpu.program import CpuProgram
from espalier.codegen.generate import generate
from espalier.core import ir_names
from espalier.core.calibration import LayerWeights
from espalier.core.layers import LayerSpec
from espalier.ir.dataflow import Dataflow, argument, constant
from espalier.ir.single_binding import single_binding
from espalier.targets.resolve import resolve_target

Lane = dict[relax.Var, "np.ndarray | tuple"]


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution or dense layer. weight, bias: as in `LayerWeights`; x, residual: variables of main."""

    name: str
    spec: LayerSpec
    var: relax.Var
    x: relax.Var
    residual: relax.Var | None
    weight: np.ndarray
    bias: np.ndarray

    def read(self, lane: Lane) -> tuple[np.ndarray, np.ndarray | None]:
        """(x, residual) as [S, ...], where S counts the samples of all groups."""
        return flat(lane[self.x]), None if self.residual is None else flat(lane[self.residual])


@dataclass(frozen=True, eq=False)
class Step:
    """One binding: a layer, or something else. dead: variables that no later step reads."""

    var: relax.Var
    value: relax.Expr
    reads: tuple[relax.Var, ...]
    layer: Layer | None
    dead: tuple[relax.Var, ...]


class Interpreter:
    """The bindings of a prepared module's main, ready to be walked."""

    def __init__(self, mod: tvm.IRModule):
        self.flow = Dataflow.of(mod)
        self.params = tuple(mod["main"].params)
        self.steps = _steps(self.flow)
        self.layers = [step.layer for step in self.steps if step.layer]
        self._programs: dict[relax.Var, CpuProgram] = {}

    def lane(self, inputs: dict[str, np.ndarray]) -> Lane:
        """The start of a walk: the inputs [G, *shape] by parameter name."""
        return {param: inputs[param.name] for param in self.params}

    def walk(self, lanes: Sequence[Lane], on_layer: Callable, on_value: Callable | None = None) -> list[np.ndarray]:
        """Evaluate every binding in all lanes; a value dies with its last reader.

        on_layer(layer, lanes) returns the layer's output [S, ...] for each lane. Lanes may share a value
        (the same array); what is computed from shared values alone is computed once and shared again.
        on_value(var, value) is told what every binding gives in the first lane.
        Returns the model's first output [G, *shape] of each lane.
        """
        groups = len(next(iter(lanes[0].values())))
        for step in self.steps:
            if step.layer:
                results = _grouped(on_layer(step.layer, lanes), groups)
            else:
                results = self._other(step, lanes, groups)
            if on_value:
                on_value(step.var, results[0])
            for lane, result in zip(lanes, results):
                lane[step.var] = result
                for var in step.dead:
                    del lane[var]
        return [_first(_look_up(self.flow.result, lane)) for lane in lanes]

    def _other(self, step: Step, lanes: Sequence[Lane], groups: int) -> list:
        results = []
        for lane in lanes:
            shared = all(lane[var] is lanes[0][var] for var in step.reads)
            results.append(results[0] if results and shared else self._evaluate(step, lane, groups))
        return results

    def _evaluate(self, step: Step, lane: Lane, groups: int):
        if isinstance(step.value, relax.Var | relax.Tuple | relax.TupleGetItem):
            return _look_up(step.value, lane)
        if step.var not in self._programs:
            self._programs[step.var] = generate(single_binding(self.flow.mod, step.value), resolve_target("llvm"))
        given = [array for var in step.reads for array in _leaves(lane[var])]
        runs = [self._programs[step.var].run([array[group] for array in given]) for group in range(groups)]
        outputs = tuple(np.stack(one) for one in zip(*runs))
        return outputs if isinstance(step.value.ty, relax.TupleType) else outputs[0]


def flat(value: np.ndarray) -> np.ndarray:
    """[G, N, ...] as [G * N, ...]."""
    return value.reshape(-1, *value.shape[2:])


def _grouped(outputs: Sequence[np.ndarray], groups: int) -> list[np.ndarray]:
    """[G * N, ...] as [G, N, ...]; an array that two lanes share stays one object."""
    views = {id(output): output.reshape(groups, -1, *output.shape[1:]) for output in outputs}
    return [views[id(output)] for output in outputs]


def _steps(flow: Dataflow) -> list[Step]:
    steps, alive = [], set(relax.analysis.free_vars(flow.result))
    for var, value in reversed(flow.values.items()):
        reads = tuple(relax.analysis.free_vars(value))
        dead = tuple({one for one in (*reads, var) if one not in alive})
        alive.update(reads)
        steps.append(Step(var, value, reads, _layer(flow, var), dead))
    return steps[::-1]


def _layer(flow: Dataflow, var: relax.Var) -> Layer | None:
    found = flow.layer_of(var)
    if not found or found[0] == ir_names.CHANNEL_GATE or found[1].integer is not None:
        return None
    _, spec, call = found
    weight, bias = constant(argument(spec, call, "weight")), argument(spec, call, "bias")
    own = LayerWeights.of(weight, None if bias is None else constant(bias))
    x, residual = argument(spec, call, "x"), argument(spec, call, "residual")
    return Layer(spec.name, spec, var, x, residual, own.weight, own.bias)


def _look_up(expr: relax.Expr, lane: Lane):
    if isinstance(expr, relax.Tuple):
        return tuple(_look_up(one, lane) for one in expr.fields)
    if isinstance(expr, relax.TupleGetItem):
        return _look_up(expr.tuple_value, lane)[expr.index]
    return lane[expr]


def _first(value) -> np.ndarray:
    return _first(value[0]) if isinstance(value, tuple) else value


def _leaves(value) -> list[np.ndarray]:
    return [leaf for one in value for leaf in _leaves(one)] if isinstance(value, tuple) else [value]
