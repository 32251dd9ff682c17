"""The distinct convolutions of networks, with what is fused to them, read from the imported networks themselves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tvm

import espalier
from espalier.codegen.cpu.kernels.problem import ConvProblem
from espalier.core.layers import Conv2dSpec
from espalier.frontend.bundled import model_path
from espalier.ir.dataflow import Dataflow, shape_of

from .imagenet import NETWORKS, network
from .networks import CifarResNet

NAMES = (*NETWORKS, "ResNet-20", "M-CifarNet")


@dataclass(frozen=True)
class Layer:
    """A convolution that occurs in networks.

    problem: its shapes and what is fused to it; its name says nothing. is_first: it reads the network's input.
    uses: how many layers of each network are this one.
    """

    problem: ConvProblem
    is_first: bool
    uses: Mapping[str, int]

    @property
    def kind(self) -> str:
        """What the layer is compared with: "first", "depthwise", "strided", "1x1", "3x3" or another size."""
        if self.is_first:
            return "first"
        if self.problem.is_depthwise:
            return "depthwise"
        if max(self.problem.spec.strides) > 1:
            return "strided"
        return "x".join(map(str, self.problem.kernel))

    @property
    def name(self) -> str:
        """Channels, image, kernel/stride and what is fused, such as "64-64 56x56 3x3/1 relu+add"."""
        spec, (_, c_in, rows, columns) = self.problem.spec, self.problem.x_shape
        r, s = self.problem.kernel
        channels = f"{c_in} dw" if self.problem.is_depthwise else f"{c_in}-{self.problem.channels_out}"
        fused = [spec.activation.kind] if spec.activation.kind != "none" else []
        fused += ["add"] if "residual" in spec.roles else []
        return f"{channels} {rows}x{columns} {r}x{s}/{spec.strides[0]} {'+'.join(fused) or 'linear'}"


@dataclass(frozen=True)
class Work:
    """What a dense layer or network does: multiply-accumulates, and bytes of inputs, weights and outputs in float32."""

    macs: int
    bytes: int

    def __add__(self, other: Work) -> Work:
        return Work(self.macs + other.macs, self.bytes + other.bytes)


def imported(name: str) -> tvm.IRModule:
    """A network at batch 1 by its name, ResNet-20 with random weights."""
    if name == "M-CifarNet":
        return espalier.from_onnx(model_path())
    if name == "ResNet-20":
        return espalier.from_torch(CifarResNet(20).eval(), np.zeros((1, 3, 32, 32), "float32"))
    return espalier.from_torch(network(name), np.zeros((1, 3, 224, 224), "float32"))


def distinct_layers(modules: Mapping[str, tvm.IRModule]) -> list[Layer]:
    """Every convolution of these prepared modules (by the network's name) once, in the order of its first use."""
    uses: dict[tuple[ConvProblem, bool], dict[str, int]] = {}
    for name, mod in modules.items():
        for key in convolutions(mod):
            counts = uses.setdefault(key, {})
            counts[name] = counts.get(name, 0) + 1
    return [Layer(problem, is_first, counts) for (problem, is_first), counts in uses.items()]


def convolutions(mod: tvm.IRModule) -> list[tuple[ConvProblem, bool]]:
    """(problem without its name, whether it reads an input of main) for each convolution of a prepared module."""
    return [
        (ConvProblem(dataclasses.replace(spec, name="layer"), x, weight, out), is_first)
        for spec, is_first, x, weight, out in weighted_layers(mod)
        if isinstance(spec, Conv2dSpec)
    ]


def work_of(mod: tvm.IRModule) -> Work:
    """The sum over all convolutions and dense layers of a prepared module; each reads and writes its own tensors."""
    return sum((layer_work(*shapes) for _, _, *shapes in weighted_layers(mod)), Work(0, 0))


def weighted_layers(mod: tvm.IRModule) -> list[tuple]:
    """(spec, whether it reads an input of main, shapes of x, weight and output) of convolutions and dense layers."""
    flow, found = Dataflow.of(mod), []
    for var in flow.values:
        layer = flow.layer_of(var)
        if layer:
            _, spec, call = layer
            x, weight = call.args[:2]
            found.append((spec, x not in flow.values, shape_of(x), shape_of(weight), shape_of(var)))
    return found


def layer_work(x: tuple[int, ...], weight: tuple[int, ...], out: tuple[int, ...]) -> Work:
    """Of a convolution or a dense product by its shapes; each output takes one pass over its filter."""
    return Work(math.prod(out) * math.prod(weight[1:]), 4 * sum(map(math.prod, (x, weight, out))))
