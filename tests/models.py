"""Small ONNX models for the tests."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

UNOPTIMIZED = {"kind": "llvm", "opt-level": 0}
"""A CPU whose code LLVM leaves as it is: for tests of many operators, which take as long as LLVM does."""


class ModelBuilder:
    """Collects nodes and weights; every node's output is returned by name."""

    def __init__(self, seed: int = 0):
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}

    def weight(self, name: str, *shape: int, low: float = -0.3, high: float = 0.3) -> str:
        """A float32 weight with uniform random values."""
        self.weights[name] = self.random.uniform(low, high, shape).astype(np.float32)
        return name

    def node(self, operator: str, *inputs: str, name: str = "", **attributes) -> str:
        """One node with one output."""
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=name, **attributes))
        return output

    def conv(self, x: str, name: str, c_in: int, c_out: int, kernel: int = 3, bias: bool = True, **attributes) -> str:
        """A convolution with padding that keeps the size at stride 1, named as PyTorch names it."""
        groups = attributes.get("group", 1)
        inputs = [x, self.weight(f"{name}.weight", c_out, c_in // groups, kernel, kernel)]
        if bias:
            inputs.append(self.weight(f"{name}.bias", c_out))
        return self.node("Conv", *inputs, pads=[kernel // 2] * 4, **attributes)

    def batch_norm(self, x: str, name: str, channels: int) -> str:
        """Batch normalization with positive scale and variance."""
        inputs = [
            self.weight(f"{name}.weight", channels, low=0.5, high=1.5),
            self.weight(f"{name}.bias", channels),
            self.weight(f"{name}.running_mean", channels),
            self.weight(f"{name}.running_var", channels, low=0.5, high=1.5),
        ]
        return self.node("BatchNormalization", x, *inputs)

    def relu(self, x: str) -> str:
        """max(x, 0)."""
        return self.node("Relu", x)

    def head(self, x: str, name: str, channels: int, classes: int) -> str:
        """Global average pooling and a dense layer."""
        flat = self.node("Flatten", self.node("GlobalAveragePool", x))
        inputs = [self.weight(f"{name}.weight", classes, channels), self.weight(f"{name}.bias", classes)]
        return self.node("Gemm", flat, *inputs, transB=1)

    def model(self, shape, *outputs: str, dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
        """The model with one input "x" of this shape (strings are dynamic dimensions)."""
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info("x", dtype, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def plain_net(channels: int = 16, size: int = 8, batch: int = 1, seed: int = 0) -> onnx.ModelProto:
    """conv, batch-norm, ReLU twice, then a classifier of ten classes; input "x" [batch, 3, size, size]."""
    b = ModelBuilder(seed)
    y = b.relu(b.batch_norm(b.conv("x", "conv0", 3, channels, bias=False), "bn0", channels))
    y = b.relu(b.batch_norm(b.conv(y, "conv1", channels, channels, bias=False), "bn1", channels))
    return b.model([batch, 3, size, size], b.head(y, "fc", channels, 10))


def residual_net(channels: int = 16, size: int = 8, seed: int = 0) -> onnx.ModelProto:
    """A stem, one residual block whose shortcut comes first in the add, then a classifier."""
    b = ModelBuilder(seed)
    stem = b.relu(b.conv("x", "stem", 3, channels))
    branch = b.relu(b.conv(stem, "block.conv1", channels, channels, bias=False))
    branch = b.conv(branch, "block.conv2", channels, channels, bias=False)
    shortcut = b.conv(stem, "block.shortcut", channels, channels, kernel=1, bias=False)
    return b.model([1, 3, size, size], b.head(b.relu(b.node("Add", shortcut, branch)), "fc", channels, 10))


def depthwise_net(channels: int = 16, size: int = 8, seed: int = 0) -> onnx.ModelProto:
    """A stem, a depthwise and a pointwise convolution with clipped activations, then a classifier."""
    b = ModelBuilder(seed)
    b.weights.update(low=np.float32(0), high=np.float32(6))
    y = b.node("Clip", b.conv("x", "stem", 3, channels, strides=[2, 2]), "low", "high")
    y = b.node("Clip", b.conv(y, "depthwise", channels, channels, group=channels), "low", "high")
    y = b.node("Clip", b.conv(y, "pointwise", channels, channels * 2, kernel=1), "low", "high")
    return b.model([1, 3, size, size], b.head(y, "fc", channels * 2, 10))


def separable_residual_net(channels: int = 16, size: int = 16, seed: int = 0) -> onnx.ModelProto:
    """A strided stem, a block of a depthwise and a pointwise convolution around an identity, then a classifier.

    Its nodes have names, by which tools that quantize tell them apart.
    """
    b = ModelBuilder(seed)
    stem = b.relu(b.conv("x", "stem", 3, channels, strides=[2, 2]))
    branch = b.relu(b.conv(stem, "depthwise", channels, channels, group=channels))
    branch = b.conv(branch, "pointwise", channels, channels, kernel=1)
    y = b.relu(b.conv(b.relu(b.node("Add", branch, stem)), "last", channels, 2 * channels))
    model = b.model([1, 3, size, size], b.head(y, "fc", 2 * channels, 10))
    for node in model.graph.node:
        node.name = f"{node.op_type}.{node.output[0]}"
    return onnx.shape_inference.infer_shapes(model)


def onnxruntime_outputs(model: onnx.ModelProto, **inputs: np.ndarray) -> list[np.ndarray]:
    """What ONNX Runtime computes, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)
