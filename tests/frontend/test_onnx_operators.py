"""Every operator that `from_onnx` accepts computes what ONNX Runtime computes, with the settings that users meet.

The rows of one operator are one model, built once for the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from models import UNOPTIMIZED, onnxruntime_outputs
from onnx import TensorProto, helper, numpy_helper

import espalier
from espalier.core.errors import InvalidModelError, UnsupportedOpError
from espalier.frontend import from_onnx

RANDOM = np.random.default_rng(5)


@dataclass(frozen=True)
class Fixed:
    """An input that the model stores."""

    array: np.ndarray


@dataclass
class Row:
    """One node. inputs: arrays that are handed over, Fixed ones, None for those left out."""

    operator: str
    inputs: tuple
    attributes: dict
    opset: int = 17
    outputs: int = 1
    domain: str = ""
    feeds: dict[str, np.ndarray] = field(default_factory=dict)
    stored: list[onnx.TensorProto] = field(default_factory=list)

    def node(self, prefix: str) -> onnx.NodeProto:
        """The node with names of its own; fills `feeds` and `stored`."""
        self.feeds.clear(), self.stored.clear()
        names = []
        for number, value in enumerate(self.inputs):
            names.append("" if value is None else f"{prefix}in{number}")
            if isinstance(value, Fixed):
                self.stored.append(numpy_helper.from_array(value.array, names[-1]))
            elif value is not None:
                self.feeds[names[-1]] = value
        outputs = [f"{prefix}out{number}" for number in range(self.outputs)]
        return helper.make_node(
            self.operator, names, outputs, name=f"{prefix}node", domain=self.domain, **self.attributes
        )


def row(operator: str, *inputs, opset: int = 17, outputs: int = 1, domain: str = "", **attributes) -> Row:
    return Row(operator, inputs, attributes, opset, outputs, domain)


def model_of(rows: list[Row]) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """One model of all rows, and what is handed to it."""
    nodes = [one.node(f"r{number}_") for number, one in enumerate(rows)]
    feeds = {name: array for one in rows for name, array in one.feeds.items()}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    stored = [tensor for one in rows for tensor in one.stored]
    outputs = [onnx.ValueInfoProto(name=name) for node in nodes for name in node.output]
    graph = helper.make_graph(nodes, "rows", inputs, outputs, stored)
    domains = {"": rows[0].opset} | {one.domain: 1 for one in rows if one.domain}
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for output in model.graph.output:
        if not output.type.tensor_type.elem_type:  # ONNX knows nothing of other domains
            output.type.tensor_type.elem_type = TensorProto.FLOAT
    return model, feeds


def numbers(*shape: int, low: float = -2, high: float = 2) -> np.ndarray:
    return RANDOM.uniform(low, high, shape).astype(np.float32)


def whole(*shape: int, low: int = -9, high: int = 10, dtype: str = "int64") -> np.ndarray:
    return RANDOM.integers(low, high, shape).astype(dtype)


def ints(*values: int) -> Fixed:
    return Fixed(np.array(values, np.int64))


def floats(*values: float) -> Fixed:
    return Fixed(np.array(values, np.float32))


def scalar(value, dtype: str = "float32") -> Fixed:
    return Fixed(np.array(value, dtype))


X = numbers(2, 3, 5, 6)
POSITIVE = numbers(2, 3, 5, 6, low=0.1)
TIES = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997], np.float32)
SPECIAL = np.array([1, np.inf, -np.inf, np.nan, 0], np.float32)
COARSE = np.round(X)


def elementwise() -> Iterator[Row]:
    everywhere = "Abs Atan Asinh Ceil Cos Elu Erf Exp Floor HardSigmoid HardSwish LeakyRelu Neg Relu Selu Sigmoid Sign"
    everywhere += " Sin Sinh Softplus Softsign Tanh ThresholdedRelu Celu Identity Cosh"
    for operator in everywhere.split():
        if operator != "Celu":
            yield row(operator, X)
    for operator in ("Log", "Sqrt", "Reciprocal"):
        yield row(operator, POSITIVE)
    for operator in ("Acos", "Asin", "Atanh", "Tan"):
        yield row(operator, X / 2.1)
    yield row("Acosh", POSITIVE + 1)
    yield row("Round", TIES)
    yield row("Elu", X, alpha=0.3)
    yield row("Elu", X * 50)
    yield row("LeakyRelu", X, alpha=0.3)
    yield row("HardSigmoid", X, alpha=0.3, beta=0.4)
    yield row("Selu", X, alpha=1.2, gamma=0.9)
    yield row("ThresholdedRelu", X, alpha=0.3)
    yield row("Softplus", X * 50)
    yield row("Shrink", X, lambd=0.7, bias=0.2)
    yield row("Mish", X, opset=18)
    yield row("Gelu", X, opset=20)
    yield row("Gelu", X, approximate="tanh", opset=20)
    yield row("Sign", whole(7))
    yield row("Abs", whole(7, dtype="int32"))
    yield row("Not", X > 0)
    yield row("IsNaN", SPECIAL)
    for positive, negative in ((1, 1), (1, 0), (0, 1), (0, 0)):
        yield row("IsInf", SPECIAL, detect_positive=positive, detect_negative=negative)
    for slope in (numbers(3, 1, 1), numbers(1), numbers(6), numbers(5, 1), numbers(3, 5, 6)):
        yield row("PRelu", X, Fixed(slope))
    for by in (1, 7, 31):
        yield row("BitShift", np.array([8, 9, 255], np.uint32), np.array([by] * 3, np.uint32), direction="RIGHT")
        yield row("BitShift", np.array([8, 9, 255], np.uint32), np.array([by] * 3, np.uint32), direction="LEFT")
    yield row("Trilu", X, upper=0)
    yield row("Trilu", X, scalar(-1, "int64"), upper=0)
    yield row("Trilu", X, scalar(2, "int64"), upper=1)
    yield row("FastGelu", X, domain="com.microsoft")
    yield row("BiasGelu", X, numbers(6), domain="com.microsoft")
    yield row("Dropout", X, opset=12)
    yield row("Dropout", X, outputs=2, opset=12)
    yield row("Dropout", X, ratio=0.3, opset=11)


def binary() -> Iterator[Row]:
    for operator in ("Add", "Sub", "Mul", "Div"):
        yield row(operator, X, numbers(3, 1, 1, low=1))
        yield row(operator, numbers(5, 1), Fixed(numbers(1, 6, low=1)))
    negative, divisors = np.array([-7, 7, -8, 9]), np.array([3, -3, 3, -2])
    yield row("Div", negative, divisors)
    yield row("Div", negative.astype(np.int32), Fixed(divisors.astype(np.int32)))
    yield row("Mod", negative, divisors)
    yield row("Mod", negative, divisors, fmod=1)
    yield row("Mod", X, numbers(6, low=0.5), fmod=1)
    yield row("Pow", POSITIVE, scalar(1.7))
    yield row("Pow", X, scalar(2))
    yield row("Pow", X, scalar(3, "int64"))
    yield row("Pow", X, np.array([3, 2, 1, 0, 4, 5], np.int32))
    yield row("Pow", np.array([1, 2, 3]), Fixed(np.array([2, 3, 4], np.float32)))
    for operator in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"):
        yield row(operator, COARSE, np.round(numbers(6)))
    yield row("Equal", whole(4), whole(4))
    for operator in ("And", "Or", "Xor"):
        yield row(operator, X > 0, numbers(6) > 0)
    for operator in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        yield row(operator, whole(5), whole(2, 5), opset=18)
    yield row("BitwiseNot", whole(5, dtype="int8"), opset=18)
    for operator in ("Sum", "Min", "Max", "Mean"):
        yield row(operator, X, numbers(6), numbers(5, 1))
        yield row(operator, X)
    yield row("Max", whole(2, 3), whole(3))
    yield row("Where", X > 0, X, numbers(1))
    yield row("Where", np.array([True, False, True]), numbers(2, 1), Fixed(numbers(3)))
    for bounds in ((-0.5, 0.7), (None, 0.7), (-0.5, None), (1, -1)):
        yield row("Clip", X, *(None if bound is None else scalar(bound) for bound in bounds))
    yield row("Clip", whole(7), scalar(-2, "int64"), scalar(3, "int64"))
    yield row("Clip", X, min=-0.5, max=0.7, opset=10)


def shapes() -> Iterator[Row]:
    for to in ("INT32", "INT8", "UINT8", "BOOL", "DOUBLE", "FLOAT16", "INT64"):
        yield row("Cast", X * 10 if to != "UINT8" else POSITIVE * 10, to=getattr(TensorProto, to))
    yield row("Cast", whole(5), to=TensorProto.FLOAT)
    yield row("Cast", X > 0, to=TensorProto.FLOAT)
    yield row("CastLike", X, whole(1, dtype="int32"))
    yield row("Reshape", X, ints(0, -1, 2))
    yield row("Reshape", X, ints(-1))
    for axis in (0, 2, -1, 4):
        yield row("Flatten", X, axis=axis)
    yield row("Squeeze", numbers(1, 3, 1), ints(0, -1))
    yield row("Squeeze", numbers(1, 3, 1))
    yield row("Squeeze", numbers(1, 3, 1), axes=[0], opset=11)
    yield row("Unsqueeze", X, ints(-1, 0))
    yield row("Unsqueeze", X, axes=[1, 3], opset=11)
    yield row("Transpose", X)
    yield row("Transpose", X, perm=[2, 0, 3, 1])
    yield row("Expand", numbers(3, 1), ints(2, 1, 4))
    yield row("Expand", numbers(3, 1), ints(1, 1))
    yield row("Tile", numbers(3, 2), ints(2, 3))
    yield row("Concat", X, numbers(2, 3, 5, 1), axis=-1)
    yield row("Concat", X, X, axis=1)
    yield row("Shape", X)
    yield row("Shape", X, start=1, end=-1)
    yield row("Size", X)
    yield row("EyeLike", numbers(3, 4), k=1)
    yield row("EyeLike", numbers(3, 4), k=-1, dtype=TensorProto.INT64)
    yield row("ConstantOfShape", ints(2, 3), value=numpy_helper.from_array(np.array([1.5], np.float32)))
    yield row("ConstantOfShape", ints(2, 3))
    yield row("Constant", value_floats=[1.5, 2])
    yield row("Constant", value_float=1.5)
    yield row("Constant", value_ints=[1, 2])
    yield row("Constant", value_int=3)
    yield row("Constant", value=numpy_helper.from_array(numbers(2, 3)))
    yield row("Range", scalar(1, "int64"), scalar(10, "int64"), scalar(3, "int64"))
    yield row("Range", scalar(5, "int64"), scalar(-4, "int64"), scalar(-2, "int64"))
    yield row("Range", scalar(0.5), scalar(2), scalar(0.4))
    yield row("Split", X, outputs=3, axis=-1)
    yield row("Split", X, ints(1, 5), outputs=2, axis=3)
    yield row("Split", X, outputs=2, axis=2, num_outputs=2, opset=18)
    yield row("Split", X, outputs=2, axis=3, split=[4, 2], opset=11)
    yield row("Slice", X, ints(1), ints(4), ints(2))
    yield row("Slice", X, ints(-1, 4), ints(-10, 0), ints(3, 2), ints(-2, -1))
    yield row("Slice", X, ints(0, 1), ints(2**63 - 1, 2**63 - 1))
    yield row("Slice", X, ints(-4), ints(-1), ints(-1), ints(2))
    for mode in ("reflect", "edge"):
        yield row("Pad", X, ints(0, 0, 1, 2, 0, 0, 2, 1), mode=mode)
    yield row("Pad", X, ints(0, 0, 1, 2, 0, 0, 2, 1), mode="wrap", opset=19)
    yield row("Pad", X, ints(0, 0, 1, 2, 0, 0, 2, 1), scalar(1.5))
    yield row("Pad", X, ints(0, 0, -1, 2, 0, 0, 2, -1))
    yield row("Pad", X, ints(1, 2), scalar(1.5), ints(-1), opset=18)
    yield row("Pad", whole(3), ints(1, 2))
    yield row("DepthToSpace", numbers(1, 8, 3, 2), blocksize=2)
    yield row("DepthToSpace", numbers(1, 8, 3, 2), blocksize=2, mode="CRD")
    yield row("SpaceToDepth", numbers(1, 2, 6, 4), blocksize=2)


def indices() -> Iterator[Row]:
    some = np.array([[0, -1], [-2, 2]])
    for axis in (0, 2, -1):
        yield row("Gather", X, some % 2 - 1, axis=axis)
        yield row("Gather", X, Fixed(some % 2 - 1), axis=axis)
    yield row("Gather", X, scalar(-1, "int64"), axis=1)
    yield row("Gather", Fixed(numbers(10, 4)), whole(3, low=-10, dtype="int32"))
    yield row("GatherElements", X, whole(2, 3, 5, 4, low=-6, high=6), axis=3)
    yield row("GatherElements", X, Fixed(whole(1, 3, 5, 6, low=-2, high=2)), axis=0)
    yield row("GatherND", X, np.array([[0, 1], [-1, 2]]))
    yield row("GatherND", X, Fixed(np.array([[[0, 1]], [[-3, 2]]])), batch_dims=1)
    yield row("OneHot", np.array([1, -1, 3, 7]), scalar(4, "int64"), floats(-1, 2))
    yield row("OneHot", np.array([[1, -1, 3]]), scalar(4, "int64"), ints(0, 1), axis=0)
    yield row("OneHot", np.array([1, 2, 0], np.int32), scalar(4, "int32"), floats(0, 1), axis=-2)
    for operator in ("ArgMax", "ArgMin"):
        yield row(operator, COARSE)
        yield row(operator, COARSE, axis=-1, keepdims=0)
        yield row(operator, COARSE, axis=1, select_last_index=1)


def indices_that_write() -> Iterator[Row]:
    yield row("ScatterND", X, np.array([[0, 1], [-1, 2]]), numbers(2, 5, 6))
    yield row("ScatterND", X, np.array([[0], [0]]), numbers(2, 3, 5, 6), reduction="add", opset=18)
    yield row("ScatterElements", X, np.array([[[[0, -1]]]]), numbers(1, 1, 1, 2), axis=1)
    yield row("ScatterElements", X, np.array([[[[0, 0]]]]), numbers(1, 1, 1, 2), axis=-1, reduction="mul", opset=18)


def ordering() -> Iterator[Row]:
    yield row("TopK", X, ints(2), outputs=2)
    yield row("TopK", X, ints(2), outputs=2, axis=1, largest=0)
    yield row("TopK", X, ints(1), outputs=2, axis=0, sorted=1)
    for attributes in ({}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}):
        yield row("CumSum", X, scalar(-1, "int64"), **attributes)
    yield row("CumSum", whole(3, 4), scalar(0, "int32"))


def reductions() -> Iterator[Row]:
    names = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    for operator in (f"Reduce{name}" for name in names):
        if operator != "ReduceSum":
            yield row(operator, POSITIVE, axes=[-1, 1], keepdims=0)
            yield row(operator, POSITIVE, axes=[2])
        yield row(operator, POSITIVE)
        yield row(operator, POSITIVE, ints(-1, 1), keepdims=0, opset=18)
        yield row(operator, POSITIVE, ints(0), opset=18)
        yield row(operator, POSITIVE, noop_with_empty_axes=0, opset=18)
        yield row(operator, X if operator in ("ReduceL1", "ReduceL2") else POSITIVE, noop_with_empty_axes=1, opset=18)
        yield row(operator, POSITIVE, ints(), noop_with_empty_axes=1, opset=18)
    yield row("ReduceSum", POSITIVE, ints(-1, 1), keepdims=0)
    yield row("ReduceSum", POSITIVE, axes=[1, -1], opset=11)
    yield row("ReduceLogSumExp", X * 100)
    yield row("ReduceMax", whole(3, 4), axes=[0])
    for operator in ("Softmax", "LogSoftmax", "Hardmax"):
        for axis in (0, 1, -1):
            yield row(operator, X, axis=axis)
            yield row(operator, X, axis=axis, opset=11)
        yield row(operator, X)
        yield row(operator, X, opset=11)


def normalizations() -> Iterator[Row]:
    statistics = [Fixed(numbers(3)), Fixed(numbers(3)), Fixed(numbers(3)), Fixed(numbers(3, low=0.5))]
    yield row("BatchNormalization", X, *statistics)
    yield row("BatchNormalization", X, *statistics, epsilon=0.1)
    yield row("BatchNormalization", numbers(4, 3), *statistics)
    yield row("InstanceNormalization", X, *statistics[:2])
    yield row("InstanceNormalization", numbers(2, 3, 7), *statistics[:2], epsilon=0.1)
    yield row("LayerNormalization", X, Fixed(numbers(6)), Fixed(numbers(6)))
    yield row("LayerNormalization", X, Fixed(numbers(6)))
    yield row("LayerNormalization", X, Fixed(numbers(5, 6)), Fixed(numbers(5, 6)), axis=2, epsilon=0.1)
    yield row("LayerNormalization", X, Fixed(numbers(6)), Fixed(numbers(6)), outputs=3)
    yield row("GroupNormalization", numbers(2, 6, 4, 3), numbers(6), numbers(6), num_groups=3, opset=21)
    yield row("RMSNormalization", X, numbers(6), opset=23)
    yield row("RMSNormalization", X, numbers(5, 6), axis=2, epsilon=0.1, opset=23)
    yield row("MeanVarianceNormalization", X)
    yield row("MeanVarianceNormalization", X, axes=[1, 2, 3])
    yield row("LRN", X, size=3)
    yield row("LRN", numbers(1, 9, 4, 4), size=5, alpha=0.5, beta=0.6, bias=1.5)
    bias = [numbers(6) for _ in range(3)]
    yield row("SkipLayerNormalization", numbers(2, 5, 6), numbers(2, 5, 6), *bias, domain="com.microsoft")


def convolutions() -> Iterator[Row]:
    image, weight = numbers(2, 3, 9, 10), Fixed(numbers(5, 3, 3, 2))
    yield row("Conv", image, weight, Fixed(numbers(5)), pads=[0, 1, 2, 3], strides=[2, 1], dilations=[1, 2])
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        yield row("Conv", image, weight, auto_pad=mode, strides=[2, 3])
        yield row("ConvTranspose", image, Fixed(numbers(3, 5, 3, 2)), auto_pad=mode, strides=[2, 3])
    yield row("Conv", image, Fixed(numbers(6, 1, 3, 2)), group=3)
    yield row("Conv", image, numbers(5, 3, 1, 1))
    yield row("Conv", numbers(2, 3, 9), Fixed(numbers(5, 3, 3)), pads=[1, 2], strides=[2])
    yield row("Conv", numbers(1, 2, 5, 6, 4), Fixed(numbers(3, 2, 3, 2, 1)), pads=[1, 0, 0, 1, 1, 0])
    weight = Fixed(numbers(3, 5, 3, 3))
    yield row("ConvTranspose", image, weight, Fixed(numbers(5)), strides=[2, 3], pads=[1, 0, 0, 1])
    yield row("ConvTranspose", image, weight, strides=[2, 3], output_padding=[1, 2], dilations=[2, 1])
    yield row("ConvTranspose", image, Fixed(numbers(3, 2, 3, 3)), strides=[2, 2], group=3)
    yield row("ConvTranspose", numbers(2, 3, 5), Fixed(numbers(3, 4, 3)), strides=[2])
    for mode in ("NOTSET", "SAME_UPPER", "SAME_LOWER"):
        for shape in ([18, 20], [19, 21], [17, 19], [20, 22][:1] + [22]):
            yield row("ConvTranspose", image, weight, strides=[2, 2], output_shape=shape, auto_pad=mode)


def products() -> Iterator[Row]:
    yield row("Gemm", numbers(8, 3), Fixed(numbers(5, 8)), numbers(3, 1), alpha=0.5, beta=0.3, transA=1, transB=1)
    yield row("Gemm", numbers(3, 8), Fixed(numbers(8, 5)), scalar(2))
    yield row("Gemm", numbers(3, 8), numbers(8, 5))
    yield row("MatMul", numbers(3, 8), Fixed(numbers(8, 5)))
    yield row("MatMul", numbers(2, 3, 8), numbers(2, 8, 5))
    yield row("MatMul", numbers(8), Fixed(numbers(8, 5)))
    yield row("MatMul", numbers(2, 1, 3, 8), Fixed(numbers(4, 8, 5)))
    yield row("Einsum", X, X, equation="bchw,bdhw->bcd")
    yield row("Einsum", numbers(4, 5), equation="ij->ji")
    yield row("Einsum", numbers(2, 4, 5), numbers(2, 5, 3), equation="...ij,...jk->...ik")
    yield row("MatMulInteger", whole(2, 8, low=0, dtype="uint8"), Fixed(whole(8, 5, dtype="int8")), scalar(5, "uint8"))


def pools() -> Iterator[Row]:
    image = numbers(1, 2, 9, 8)
    for operator in ("MaxPool", "AveragePool", "LpPool"):
        yield row(operator, image, kernel_shape=[3, 2], strides=[2, 1], pads=[0, 1, 1, 0])
        for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
            yield row(operator, image, kernel_shape=[4, 3], strides=[2, 3], auto_pad=mode)
        yield row(operator, numbers(1, 2, 9), kernel_shape=[3], strides=[2], pads=[1, 0])
        yield row(operator, numbers(1, 2, 5, 6, 4), kernel_shape=[2, 3, 2], strides=[1, 2, 2])
    for operator in ("MaxPool", "AveragePool"):
        yield row(operator, image, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
        yield row(operator, image, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[1, 1, 1, 1])
    yield row("AveragePool", image, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
    yield row(
        "AveragePool", image, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1, ceil_mode=1
    )
    yield row("AveragePool", image, kernel_shape=[2, 2], dilations=[2, 2], opset=19)
    yield row("MaxPool", image, kernel_shape=[2, 3], dilations=[2, 2])
    yield row("MaxPool", image, kernel_shape=[2, 2], storage_order=1)
    yield row("MaxPool", whole(1, 2, 9, 8, dtype="int8"), kernel_shape=[2, 2], pads=[1, 1, 1, 1])
    yield row("LpPool", image, kernel_shape=[2, 2], p=1)
    yield row("LpPool", image, kernel_shape=[2, 2], p=3, strides=[2, 2])
    for operator in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
        yield row(operator, X)
        yield row(operator, numbers(2, 3, 5))
    yield row("GlobalLpPool", X, p=3)
    boxes = np.array([[0, 0, 0, 5, 6], [1, 1, 2, 7, 5]], np.float32)
    yield row("MaxRoiPool", numbers(2, 3, 9, 8), boxes, pooled_shape=[2, 3])
    yield row("MaxRoiPool", numbers(2, 3, 9, 8), boxes, pooled_shape=[2, 2], spatial_scale=0.6)
    for scale in (1.0, 0.5):
        sampling = {"output_height": 2, "output_width": 3, "sampling_ratio": 2, "spatial_scale": scale}
        yield row("RoiAlign", numbers(2, 3, 9, 8), boxes[:, 1:], ints(0, 1), **sampling)
        yield row("RoiAlign", numbers(2, 3, 9, 8), boxes[:, 1:], ints(0, 1), **sampling, opset=10)


def resizes() -> Iterator[Row]:
    image = numbers(1, 2, 5, 6)
    coordinates = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    for mode in ("nearest", "linear", "cubic"):
        for transformation in coordinates:
            attributes = {"mode": mode, "coordinate_transformation_mode": transformation}
            for sizes in ((10, 9), (3, 4)):
                yield row("Resize", image, None, None, ints(1, 2, *sizes), **attributes)
            if transformation != "align_corners":
                for scales in ((1.5, 1.7), (2, 0.7)):
                    yield row("Resize", image, None, floats(1, 1, *scales), **attributes)
    for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        for sizes in ((10, 12), (7, 9), (3, 4)):
            yield row("Resize", image, None, None, ints(1, 2, *sizes), mode="nearest", nearest_mode=rounding)
    yield row("Resize", image, None, None, ints(1, 2, 8, 9), mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5)
    yield row("Resize", image, None, None, ints(8, 9), mode="linear", axes=[2, 3], opset=18)
    yield row("Resize", image, None, floats(1.5, 1.5), mode="linear", axes=[3, 2], opset=18)
    for policy in ("not_larger", "not_smaller"):
        yield row("Resize", image, None, None, ints(8, 8), axes=[2, 3], keep_aspect_ratio_policy=policy, opset=18)
    yield row(
        "Resize", image, None, floats(1, 1, 1.5, 0.7), coordinate_transformation_mode="half_pixel_symmetric", opset=19
    )
    yield row("Resize", numbers(1, 2, 5), None, floats(1, 1, 1.5), mode="linear")
    yield row("Resize", image, floats(0, 0, 0.2, 0.3, 1, 1, 0.7, 0.9), None, ints(1, 2, 4, 4),
              mode="linear", coordinate_transformation_mode="tf_crop_and_resize")  # fmt: skip
    for scales in ((2, 3), (1.5, 1.3), (0.6, 0.5)):
        yield row("Resize", image, floats(1, 1, *scales), mode="nearest", opset=10)
        yield row("Resize", image, floats(1, 1, *scales), mode="linear", opset=10)
    yield row("Upsample", image, floats(1, 1, 2, 3), mode="nearest", opset=9)
    yield row("Upsample", image, floats(1, 1, 1.5, 2), mode="linear", opset=9)
    yield row("Upsample", image, scales=[1.0, 1.0, 2.0, 2.0], mode="nearest", opset=8)
    grid = numbers(1, 4, 3, 2, low=-1.3, high=1.3)
    settings = (
        ("bilinear", "zeros", 0),
        ("bilinear", "reflection", 1),
        ("nearest", "border", 1),
        ("bicubic", "zeros", 0),
    )
    for mode, padding, corners in settings:
        yield row("GridSample", image, grid, mode=mode, padding_mode=padding, align_corners=corners)
    yield row("AffineGrid", numbers(1, 2, 3), ints(1, 2, 4, 5), opset=20)
    yield row("AffineGrid", numbers(1, 2, 3), ints(1, 2, 4, 5), align_corners=1, opset=20)


def quantizing() -> Iterator[Row]:
    for kind in ("uint8", "int8"):
        zero = Fixed(np.array(3, kind))
        yield row("QuantizeLinear", X * 20, scalar(0.13), zero)
        yield row("QuantizeLinear", TIES, scalar(1), zero)
        yield row("DequantizeLinear", whole(2, 3, low=0, dtype=kind), scalar(0.13), zero)
    axis = [floats(0.1, 0.2, 0.3), Fixed(np.array([1, 2, 3], np.int8))]
    yield row("QuantizeLinear", X, *axis, axis=1)
    yield row("QuantizeLinear", numbers(2, 3), *axis, axis=-1)
    yield row("DequantizeLinear", whole(2, 3, 4, dtype="int8"), *axis, axis=-2)
    yield row("DequantizeLinear", whole(2, 3, dtype="int32"), scalar(0.1))
    yield row("QuantizeLinear", X, scalar(0.1))
    yield row("DynamicQuantizeLinear", X, outputs=3)


TABLES = (
    elementwise,
    binary,
    shapes,
    indices,
    reductions,
    normalizations,
    convolutions,
    products,
    pools,
    resizes,
    quantizing,
)
LATER = (indices_that_write, ordering)


def grouped(tables) -> dict[tuple[str, int], list[Row]]:
    """The rows by operator and opset."""
    found: dict[tuple[str, int], list[Row]] = {}
    for table in tables:
        for one in table():
            found.setdefault((one.operator, one.opset), []).append(one)
    return found


ROWS = grouped(TABLES + LATER)


@pytest.mark.parametrize(("operator", "opset"), ROWS, ids=[f"{operator}-{opset}" for operator, opset in ROWS])
def test_as_onnxruntime(operator, opset):
    rows = ROWS[operator, opset]
    model, feeds = model_of(rows)
    artifact = espalier.build(from_onnx(model), UNOPTIMIZED)
    ours = artifact(*(feeds[one.name] for one in artifact.inputs))
    theirs = onnxruntime_outputs(model, **feeds)
    names = [output.name for output in model.graph.output]
    for name, got, want in zip(names, ours if len(names) > 1 else [ours], theirs):
        which = f"{name} {rows[int(name[1:].split('_')[0])].attributes}"
        assert (got.dtype, got.shape) == (want.dtype, want.shape), which
        np.testing.assert_allclose(got.astype("float64"), want.astype("float64"), 1e-4, 1e-5, err_msg=which)


def computed(*rows: Row) -> np.ndarray:
    """What one artifact of these rows returns."""
    model, feeds = model_of(list(rows))
    artifact = espalier.build(from_onnx(model), UNOPTIMIZED)
    return artifact(*(feeds[one.name] for one in artifact.inputs))


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (row("Gather", X, ints(0, 5), axis=1), r"r0_node.*Gather.*index 5, accepted are -3 .. 2"),
        (row("Gather", X, ints(-4), axis=1), "index -4, accepted are -3 .. 2"),
        (row("GatherElements", X, Fixed(np.full((2, 3, 5, 6), 6)), axis=3), "index 6, accepted are -6 .. 5"),
        (row("GatherND", X, Fixed(np.array([[1, 3]]))), "index 3, accepted are -3 .. 2"),
        (row("ScatterND", X, Fixed(np.array([[2]])), numbers(1, 3, 5, 6)), "index 2, accepted are -2 .. 1"),
    ],
)
def test_a_constant_index_out_of_range(one, message):
    with pytest.raises(InvalidModelError, match=message):
        from_onnx(model_of([one])[0])


def test_an_index_out_of_range_reads_no_foreign_memory():
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    got = computed(row("Gather", Fixed(table), np.array([3, 4, 10**6, -4, -5, -(10**6)])))
    np.testing.assert_array_equal(got, table[[3, 3, 3, 0, 0, 0]])
    got = computed(row("GatherElements", table, np.array([[10**6, -(10**6), -1]])))
    np.testing.assert_array_equal(got, [[9, 1, 11]])
    got = computed(row("GatherND", table, np.array([[10**6, -1], [-(10**6), 10**6]])))
    np.testing.assert_array_equal(got, [11, 2])


SQUARE = Fixed(numbers(3, 5, 3, 3))


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (row("ConvTranspose", X, SQUARE, strides=[2, 2], output_shape=[13, 13]), "output_shape = .*strides"),
        (row("MaxPool", X, kernel_shape=[2, 2], outputs=2), "output Indices is not supported"),
        (row("LpPool", X, kernel_shape=[2, 2], ceil_mode=1, opset=18), "attribute ceil_mode = 1, accepted is 0"),
        (row("LRN", X, size=4), "attribute size = 4, accepted are odd ones"),
        (row("Resize", X, None, floats(1, 1, 0.5, 0.5), mode="linear", antialias=1, opset=18), "attribute antialias"),
        (row("Resize", whole(1, 1, 3, 3), None, floats(1, 1, 1.5, 2), mode="linear"), "linear of int64, accepted are"),
        (row("Resize", X, None, np.ones(4, np.float32)), "needs constant scales or sizes"),
        (row("OneHot", np.array([1]), np.array([4]), floats(0, 1)), "depth and values that are no constants"),
        (row("Pow", whole(3), whole(3)), "a whole number to the power of a whole number"),
        (row("ReduceSum", X, np.array([1])), "input axes is no constant"),
        (row("Dropout", X, None, np.array(True)), "input training_mode is no constant"),
        (row("Dropout", X, None, scalar(True, "bool")), "training_mode = 1, accepted is 0"),
        (row("TopK", whole(5, low=0, dtype="uint64"), ints(2), outputs=2), "of uint64, accepted are"),
        (row("ReduceMax", X, axes=[7]), "r0_node"),
    ],
)
def test_what_cannot_be_converted_names_the_node(one, message):
    with pytest.raises((UnsupportedOpError, InvalidModelError), match=message) as error:
        from_onnx(model_of([one])[0])
    assert "\n" not in str(error.value)


def test_indices_that_nothing_reads_are_not_asked_for():
    model, _ = model_of([row("MaxPool", X, kernel_shape=[2, 2], outputs=2)])
    del model.graph.output[1:]
    got = espalier.build(from_onnx(model), target="llvm")(X)
    np.testing.assert_array_equal(got, onnxruntime_outputs(model, r0_in0=X)[0])


def test_a_node_without_a_name_is_called_by_its_output():
    model, _ = model_of([row("LRN", X, size=4)])
    model.graph.node[0].name = ""
    with pytest.raises(UnsupportedOpError, match=r"node 'r0_out0' \(LRN\)"):
        from_onnx(model)


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        (TensorProto.FLOAT, [2, 3, 5, 7], r"output r0_out0: .*declares float32 \[2, 3, 5, 7\].*\[2, 3, 5, 6\]"),
        (TensorProto.DOUBLE, [2, 3, 5, 6], "output r0_out0: the model declares float64"),
    ],
)
def test_an_output_that_is_not_what_the_model_declares(kind, shape, message):
    model, _ = model_of([row("Relu", X)])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("r0_out0", kind, shape))
    with pytest.raises(InvalidModelError, match=message):
        from_onnx(model)


def test_a_result_of_another_shape_than_onnx_infers_is_refused(monkeypatch):
    """Whatever TVM's importer makes of a node."""
    from tvm import relax
    from tvm.relax.frontend.onnx import onnx_frontend

    def wider(cls, bb, inputs, attr, params):
        return relax.op.concat([inputs[0], inputs[0]], 1)

    monkeypatch.setattr(onnx_frontend.Relu, "_impl_v13", classmethod(wider))
    message = r"node 'r0_node' \(Relu\): .*float32 \[2, 6, 5, 6\], by ONNX it is float32 \[2, 3, 5, 6\]"
    with pytest.raises(UnsupportedOpError, match=message):
        from_onnx(model_of([row("Relu", X)])[0])


def test_shapes_that_do_not_fit_are_one_line():
    model, _ = model_of([row("Relu", X)])
    model.graph.node.append(helper.make_node("MatMul", ["r0_out0", "r0_out0"], ["z"], name="product"))
    model.graph.output[0].name = "z"
    with pytest.raises((UnsupportedOpError, InvalidModelError)) as error:
        from_onnx(model)
    assert "\n" not in str(error.value)


def test_a_failure_outside_of_a_node_is_one_line():
    model, _ = model_of([row("Transpose", X, perm=[0, 1, 2, 3])])
    del model.graph.node[0].attribute[0].ints[:]
    with pytest.raises((UnsupportedOpError, InvalidModelError), match="model: ") as error:
        from_onnx(model)
    assert "\n" not in str(error.value)
