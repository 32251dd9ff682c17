"""Writing an ONNX model node by node."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class OnnxGraph:
    """Collects nodes and constants; each node is known by the name of its one output."""

    def __init__(self):
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def node(self, operator: str, name: str, *inputs: str, **attributes) -> str:
        """Add a node; returns its name, which is its output's."""
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant; returns its name."""
        self.constants[name] = value
        return name

    def model(self, name: str, x: str, x_shape: Sequence[int], y: str, y_shape: Sequence[int]) -> onnx.ModelProto:
        """The model from the float32 input `x` to the float32 output `y`; checked."""
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, x_shape)],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, y_shape)],
            [numpy_helper.from_array(np.array(value, order="C"), key) for key, value in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def same_pads(sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> list[int]:
    """TensorFlow's padding "same" as ONNX has it: what is odd goes to the bottom and the right."""
    total = [
        max((-(-size // stride) - 1) * stride + taps - size, 0) for size, taps, stride in zip(sizes, kernel, strides)
    ]
    return [*(one // 2 for one in total), *(one - one // 2 for one in total)]
