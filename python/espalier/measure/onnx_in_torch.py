"""ONNX classification networks in eager PyTorch: enough operators to be a peer in a comparison.

PyTorch itself writes ONNX and does not read it. What is missing here is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from espalier.core.errors import UnsupportedOpError


class OnnxInTorch:
    """Calls one PyTorch function after the other. Raises UnsupportedOpError for an operator not in `OPERATORS`."""

    def __init__(self, path: Path):
        model = onnx.load(str(path))
        graph = model.graph
        opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
        self.constants = {tensor.name: _tensor(tensor) for tensor in graph.initializer}
        self.outputs = [output.name for output in graph.output]
        self.steps = []
        for node in graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant" and "value" in attributes:
                self.constants[node.output[0]] = _tensor(attributes["value"])
                continue
            if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx") or len(node.output) > 1:
                raise UnsupportedOpError(
                    f"peer torch: cannot run {node.op_type} (node {node.name or node.output[0]!r}), "
                    f"accepted are {', '.join(sorted(OPERATORS))}; leave torch out of the comparison"
                )
            self._add(OPERATORS[node.op_type], list(node.input), node.output[0], {**attributes, "opset": opset})

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        values = {**self.constants, **inputs, "": None}
        for function, names, output, attributes in self.steps:
            values[output] = function([values[name] for name in names], attributes)
        return [values[name] for name in self.outputs]

    def _add(self, function, names: list[str], output: str, attributes: dict) -> None:
        """Remember a step, or compute it now if it depends on constants only."""
        if all(name in self.constants for name in names):
            self.constants[output] = function([self.constants[name] for name in names], attributes)
        else:
            self.steps.append((function, names, output, attributes))


def _tensor(stored: onnx.TensorProto) -> torch.Tensor:
    return torch.from_numpy(numpy_helper.to_array(stored).copy())


def _padded(x: torch.Tensor, attributes: dict, value: float = 0.0) -> tuple[torch.Tensor, list[int]]:
    """The input with what padding PyTorch's operators cannot do, and the symmetric padding left to them."""
    rank = x.dim() - 2
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise UnsupportedOpError(f"peer torch: cannot pad by auto_pad {attributes['auto_pad'].decode()}")
    pads = list(attributes.get("pads", [0] * 2 * rank))
    if pads[:rank] == pads[rank:]:
        return x, pads[:rank]
    order = [p for axis in reversed(range(rank)) for p in (pads[axis], pads[rank + axis])]
    return functional.pad(x, order, value=value), [0] * rank


def _conv(inputs: list, attributes: dict) -> torch.Tensor:
    x, pads = _padded(inputs[0], attributes)
    convolution = {3: functional.conv1d, 4: functional.conv2d, 5: functional.conv3d}[x.dim()]
    ones = [1] * (x.dim() - 2)
    strides, dilations = attributes.get("strides", ones), attributes.get("dilations", ones)
    bias = inputs[2] if len(inputs) > 2 else None
    return convolution(x, inputs[1], bias, strides, pads, dilations, attributes.get("group", 1))


def _batch_norm(inputs: list, attributes: dict) -> torch.Tensor:
    x, scale, shift, mean, variance = inputs
    return functional.batch_norm(x, mean, variance, scale, shift, False, 0.0, attributes.get("epsilon", 1e-5))


def _max_pool(inputs: list, attributes: dict) -> torch.Tensor:
    x, pads = _padded(inputs[0], attributes, float("-inf"))
    strides = attributes.get("strides", [1, 1])
    dilations, ceil_mode = attributes.get("dilations", [1, 1]), bool(attributes.get("ceil_mode", 0))
    return functional.max_pool2d(x, attributes["kernel_shape"], strides, pads, dilations, ceil_mode)


def _average_pool(inputs: list, attributes: dict) -> torch.Tensor:
    counts_padding = bool(attributes.get("count_include_pad", 0))
    pads = attributes.get("pads", [0] * 4)
    if pads[:2] != pads[2:] and not counts_padding:
        raise UnsupportedOpError("peer torch: cannot average over uneven padding that does not count")
    x, pads = _padded(inputs[0], attributes)
    ceil_mode = bool(attributes.get("ceil_mode", 0))
    return functional.avg_pool2d(
        x, attributes["kernel_shape"], attributes.get("strides", [1, 1]), pads, ceil_mode, counts_padding
    )


def _gemm(inputs: list, attributes: dict) -> torch.Tensor:
    a = inputs[0].T if attributes.get("transA", 0) else inputs[0]
    b = inputs[1].T if attributes.get("transB", 0) else inputs[1]
    product = a @ b * attributes.get("alpha", 1.0)
    return product + inputs[2] * attributes.get("beta", 1.0) if len(inputs) > 2 else product


def _clip(inputs: list, attributes: dict) -> torch.Tensor:
    low, high = (*inputs[1:], None, None)[:2]
    low = attributes.get("min") if low is None else low.item()
    high = attributes.get("max") if high is None else high.item()
    return torch.clamp(inputs[0], low, high)


def _reshape(inputs: list, attributes: dict) -> torch.Tensor:
    sizes = [x if x else inputs[0].shape[i] for i, x in enumerate(inputs[1].tolist())]
    return inputs[0].reshape(sizes)


def _reduce_mean(inputs: list, attributes: dict) -> torch.Tensor:
    axes = inputs[1].tolist() if len(inputs) > 1 else attributes.get("axes", list(range(inputs[0].dim())))
    return inputs[0].mean(dim=axes, keepdim=bool(attributes.get("keepdims", 1)))


def _softmax(inputs: list, attributes: dict) -> torch.Tensor:
    if attributes["opset"] >= 13:
        return torch.softmax(inputs[0], attributes.get("axis", -1))
    flat = inputs[0].flatten(attributes.get("axis", 1))  # before opset 13 the axes behind `axis` are one
    return torch.softmax(flat, -1).reshape(inputs[0].shape)


def _flatten(inputs: list, attributes: dict) -> torch.Tensor:
    axis = attributes.get("axis", 1)
    return inputs[0].reshape(inputs[0].shape[:axis].numel(), -1)


_TYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
}

OPERATORS = {
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": lambda inputs, attributes: inputs[0].to(_TYPES[attributes["to"]]),
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(inputs, attributes["axis"]),
    "Conv": _conv,
    "Div": lambda inputs, _: inputs[0] / inputs[1],
    "Dropout": lambda inputs, _: inputs[0],
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda inputs, _: inputs[0].mean(dim=list(range(2, inputs[0].dim())), keepdim=True),
    "HardSigmoid": lambda inputs, a: torch.clamp(inputs[0] * a.get("alpha", 0.2) + a.get("beta", 0.5), 0, 1),
    "HardSwish": lambda inputs, _: functional.hardswish(inputs[0]),
    "Identity": lambda inputs, _: inputs[0],
    "LeakyRelu": lambda inputs, attributes: functional.leaky_relu(inputs[0], attributes.get("alpha", 0.01)),
    "MatMul": lambda inputs, _: inputs[0] @ inputs[1],
    "MaxPool": _max_pool,
    "Mul": lambda inputs, _: inputs[0] * inputs[1],
    "ReduceMean": _reduce_mean,
    "Relu": lambda inputs, _: torch.relu(inputs[0]),
    "Reshape": _reshape,
    "Sigmoid": lambda inputs, _: torch.sigmoid(inputs[0]),
    "Softmax": _softmax,
    "Sub": lambda inputs, _: inputs[0] - inputs[1],
    "Tanh": lambda inputs, _: torch.tanh(inputs[0]),
    "Transpose": lambda inputs, attributes: inputs[0].permute(attributes["perm"]),
}
