"""A small integer network whose scales are all powers of two, so that every tool can compute the very same numbers.

Three convolutions and a dense layer read handwritten digits of 8x8 pixels (scikit-learn has them). Weights and logits
are s8 and the tensors between u8, each with one scale 2^e, so a requantization is a shift:

    y = clip(RNE((sum of x * weight + bias) / 2^shift), low, high)      ties to even
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from torch import nn

from .onnx_graph import OnnxGraph

SHAPE = (1, 8, 8)
PIXEL_EXPONENT = -8
"""Pixels are u8 codes of numbers from 0 to below 1."""

TEST_IMAGES = 360
EPOCHS, BATCH = 20, 32


@dataclass(frozen=True, eq=False)
class Layer:
    """weights: int8 [C_out, C_in, KH, KW], times 2^exponent. bias: int32 [C_out], in units of the products.

    x_exponent, y_exponent: of its input and its output. is_last: whether that is s8, the logits.
    """

    weights: np.ndarray
    bias: np.ndarray
    exponent: int
    x_exponent: int
    y_exponent: int
    is_last: bool
    stride: int = 1
    padding: int = 0

    @property
    def limits(self) -> tuple[int, int]:
        """Of the codes of its output."""
        return (-128, 127) if self.is_last else (0, 255)

    @property
    def sum_exponent(self) -> int:
        """Of its sums."""
        return self.exponent + self.x_exponent

    @property
    def shift(self) -> int:
        """From sums to the output."""
        return self.y_exponent - self.sum_exponent


def model() -> nn.Sequential:
    """The network in floating point, x [N, 1, 8, 8] to logits [N, 10]."""
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(8, 8, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 10)),
    )


def images() -> tuple[np.ndarray, np.ndarray]:
    """Codes uint8 [N, 1, 8, 8] and labels; the last `TEST_IMAGES` are for tests."""
    found = load_digits()
    return np.minimum(found.images * 16, 255).astype(np.uint8)[:, None], found.target


def trained(seed: int = 0) -> nn.Sequential:
    """The network after `EPOCHS` epochs of Adam."""
    torch.manual_seed(seed)
    network, (codes, labels) = model(), images()
    x, y = real(codes[:-TEST_IMAGES]), torch.tensor(labels[:-TEST_IMAGES])
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
    return network.eval()


def quantized(network: nn.Sequential, codes: np.ndarray) -> list[Layer]:
    """Its layers in integers; codes: images whose activations no output saturates on."""
    found, x, x_exponent = [], real(codes), PIXEL_EXPONENT
    steps = list(network)
    weighted = [i for i, one in enumerate(steps) if isinstance(one, nn.Conv2d | nn.Linear)]
    for start, end in itertools.pairwise((*weighted, len(steps))):
        with torch.no_grad():
            x = nn.Sequential(*steps[start:end])(x)
        is_last = end == len(steps)
        y_exponent = _exponent(x.abs().max().item(), 127 if is_last else 255)
        found.append(_layer(steps[start], x_exponent, y_exponent, is_last))
        x_exponent = y_exponent
    return found


def _layer(step: nn.Conv2d | nn.Linear, x_exponent: int, y_exponent: int, is_last: bool) -> Layer:
    weight, bias = step.weight.detach().numpy(), step.bias.detach().numpy()
    weight = weight.reshape(*weight.shape[:2], *(weight.shape[2:] or (1, 1)))
    exponent = _exponent(float(np.abs(weight).max()), 127)
    codes = np.rint(weight * 2.0**-exponent).astype(np.int8)
    bias = np.rint(bias * 2.0 ** -(exponent + x_exponent)).astype(np.int32)
    geometry = (step.stride[0], step.padding[0]) if isinstance(step, nn.Conv2d) else ()
    return Layer(codes, bias, exponent, x_exponent, y_exponent, is_last, *geometry)


def windows(layer: Layer, x: np.ndarray) -> np.ndarray:
    """What each output pixel reads, [..., OH, OW, C * KH * KW], of x [..., C, H, W] of any type that has 0."""
    edges = [(0, 0)] * (x.ndim - 2) + [(layer.padding, layer.padding)] * 2
    views = np.lib.stride_tricks.sliding_window_view(np.pad(x, edges), layer.weights.shape[2:], (-2, -1))
    views = np.moveaxis(views[..., :: layer.stride, :: layer.stride, :, :], -5, -3)
    return views.reshape(*views.shape[:-3], -1)


def answers(layers: list[Layer], codes: np.ndarray, ties_up: bool = False) -> np.ndarray:
    """The codes of the logits, int64 [N, 10], of codes uint8 [N, 1, 8, 8]. ties_up: round them up, not to even."""
    x, rounded = codes.astype(np.int64), _ties_up if ties_up else np.rint
    for layer in layers:
        matrix = layer.weights.reshape(len(layer.weights), -1).T.astype(np.int64)
        sums = np.moveaxis(windows(layer, x) @ matrix + layer.bias, -1, -3)
        x = np.clip(rounded(np.ldexp(sums.astype(float), -layer.shift)), *layer.limits).astype(np.int64)
    return x.reshape(len(x), -1)


def _ties_up(x: np.ndarray) -> np.ndarray:
    return np.floor(x + 0.5)


def with_integer_weights(layers: list[Layer]) -> nn.Sequential:
    """The network in floating point with the weights that the codes stand for."""
    network = model().eval()
    steps = [step for step in network if isinstance(step, nn.Conv2d | nn.Linear)]
    for step, layer in zip(steps, layers, strict=True):
        weight = torch.tensor(np.ldexp(layer.weights.astype(np.float32), layer.exponent))
        step.weight.data = weight.reshape(step.weight.shape)
        step.bias.data = torch.tensor(np.ldexp(layer.bias.astype(np.float32), layer.sum_exponent))
    return network


def to_onnx(layers: list[Layer]) -> onnx.ModelProto:
    """As a QDQ model, from images float32 [1, 1, 8, 8] to logits [1, 10]."""
    graph = OnnxGraph()
    x = _through_8_bits(graph, "image", PIXEL_EXPONENT)
    for number, layer in enumerate(layers):
        name = f"layer{number}"
        if layer.is_last:
            x = _through_8_bits(graph, graph.node("Flatten", "flat", x), layer.x_exponent)
            weights = layer.weights[:, :, 0, 0]
            y = graph.node("Gemm", name, x, *_constants(graph, name, weights, layer), transB=1)
        else:
            sizes = {"strides": [layer.stride] * 2, "pads": [layer.padding] * 4}
            y = graph.node("Conv", name, x, *_constants(graph, name, layer.weights, layer), **sizes)
            y = graph.node("Relu", f"{name}.relu", y)
        x = _through_8_bits(graph, y, layer.y_exponent, np.int8 if layer.is_last else np.uint8)
    return graph.model("digits", "image", [1, *SHAPE], x, [1, len(layers[-1].bias)])


def _constants(graph: OnnxGraph, name: str, weights: np.ndarray, layer: Layer) -> Iterator[str]:
    parts = ("weight", weights, layer.exponent), ("bias", layer.bias, layer.sum_exponent)
    for part, codes, exponent in parts:
        stored = graph.constant(f"{name}.{part}.codes", codes)
        scale = graph.constant(f"{name}.{part}.scale", np.float32(2.0**exponent))
        zero = graph.constant(f"{name}.{part}.zero", codes.dtype.type(0))
        yield graph.node("DequantizeLinear", f"{name}.{part}", stored, scale, zero)


def _through_8_bits(graph: OnnxGraph, value: str, exponent: int, kind: type = np.uint8) -> str:
    scale = graph.constant(f"{value}.scale", np.float32(2.0**exponent))
    zero = graph.constant(f"{value}.zero", kind(0))
    codes = graph.node("QuantizeLinear", f"{value}.codes", value, scale, zero)
    return graph.node("DequantizeLinear", f"{value}.value", codes, scale, zero)


def real(codes: np.ndarray) -> torch.Tensor:
    """The numbers behind pixels."""
    return torch.tensor(np.ldexp(codes.astype(np.float32), PIXEL_EXPONENT))


def _exponent(largest: float, code: int) -> int:
    """The least e with largest <= code * 2^e."""
    return math.ceil(math.log2(largest / code))
