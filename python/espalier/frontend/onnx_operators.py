"""Operators of ONNX that TVM's importer gets wrong without a word, or not at all.

A converter gives the node's result; None leaves it to TVM's converter, with inputs and attributes as it left them.
What cannot be converted exactly is refused.

References
----------
ONNX operators: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx.helper
from tvm import relax

from ..core.errors import InvalidModelError
from .onnx_node import OnnxNode
from .onnx_resize import convert_resize


def convert(node: OnnxNode) -> relax.Expr | None:
    """The node's result; None if TVM's converter is to give it. UnsupportedOpError for what neither gets right."""
    if not all(isinstance(value, relax.Expr | None) for value in node.inputs):
        raise node.refusal("optional inputs without a value")
    converter = _CONVERTERS.get(node.operator)
    return None if converter is None else converter(node)


def _batch_normalization(node: OnnxNode) -> None:
    if node.attributes.get("training_mode", 0):
        raise node.refusal("attribute training_mode = 1, accepted is 0")
    if not node.attributes.get("spatial", 1):
        raise node.refusal("attribute spatial = 0, accepted is 1")


def _bit_shift(node: OnnxNode) -> relax.Expr:
    """Beyond the width of the numbers, and by less than nothing, all bits are shifted out."""
    x, by = node.inputs
    dtype, bits = node.dtype(), np.iinfo(node.dtype()).bits
    outside = relax.op.greater_equal(by, relax.const(bits, dtype))
    if dtype.startswith("int"):
        outside = relax.op.logical_or(outside, relax.op.less(by, relax.const(0, dtype)))
    if node.text("direction", "LEFT") == "LEFT":
        kept = relax.op.left_shift(x, relax.op.where(outside, relax.const(0, dtype), by))
        return node.emit(relax.op.where(outside, relax.const(0, dtype), kept))
    return node.emit(relax.op.right_shift(x, relax.op.where(outside, relax.const(bits - 1, dtype), by)))


def _constant(node: OnnxNode) -> relax.Expr | None:
    numbers = {"value_float": "float32", "value_floats": "float32", "value_int": "int64", "value_ints": "int64"}
    if "value" in node.attributes:
        return None
    for key, dtype in numbers.items():
        if key in node.attributes:
            return relax.const(np.array(node.attributes[key], dtype), dtype)
    given = next((key for key in node.attributes if key != "tvm_custom"), "none")
    raise node.refusal(f"attribute {given}, accepted are value, {', '.join(numbers)}")


def _conv_transpose(node: OnnxNode) -> None:
    """`output_shape` gives the padding."""
    wanted = node.attributes.pop("output_shape", None)
    if wanted is None:
        return
    sizes, kernel = node.shape(0)[2:], node.shape(1)[2:]
    ones = (1,) * len(sizes)
    strides, dilations = node.attributes.get("strides", ones), node.attributes.get("dilations", ones)
    more = list(node.attributes.get("output_padding", (0,) * len(sizes)))
    wanted = wanted[-len(sizes) :]
    first, last = [], []
    for axis, size in enumerate(sizes):
        full = strides[axis] * (size - 1) + (kernel[axis] - 1) * dilations[axis] + 1
        total = full + more[axis] - wanted[axis]
        if total < 0:
            more[axis], total = more[axis] - total, 0
        if more[axis] >= strides[axis] and more[axis]:
            raise node.refusal(f"attribute output_shape = {list(wanted)} is larger than strides {list(strides)} reach")
        half = total // 2
        first.append(half if node.text("auto_pad", "NOTSET") == "SAME_UPPER" else total - half)
        last.append(total - first[-1])
    node.attributes |= {"auto_pad": b"NOTSET", "pads": (*first, *last), "output_padding": tuple(more)}


def _dropout(node: OnnxNode) -> relax.Expr:
    """The identity and, if asked for, a mask of ones."""
    ratio, training = node.constant(1), node.constant(2)
    is_input_given = node.input(2) is not None
    if is_input_given and training is None:
        raise node.refusal("input training_mode is no constant")
    if is_input_given and training.any() and (ratio is None or ratio != 0):
        raise node.refusal("input training_mode = 1, accepted is 0")
    if node.outputs == 1:
        return node.inputs[0]
    mask = node.emit(relax.op.ones(relax.ShapeExpr(node.shape()), "bool" if node.opset >= 10 else node.dtype()))
    return relax.Tuple([node.inputs[0], mask])


def _in_range(node: OnnxNode, index: int, sizes: int | np.ndarray) -> relax.Expr:
    """The input with indices that are never negative and below `sizes`, which broadcasts against it.

    Negative ones count from the end. InvalidModelError for a constant beyond; others become the last or the first.
    """
    known = node.constant(index)
    if known is not None:
        outside = (known < -sizes) | (known >= sizes)
        if outside.any():
            size = np.broadcast_to(sizes, known.shape)[outside][0]
            raise InvalidModelError(
                f"node {node.name!r} ({node.operator}): index {known[outside][0]}, accepted are {-size} .. {size - 1}"
            )
        return relax.const(np.where(known < 0, known + sizes, known), str(known.dtype))
    indices, dtype = node.inputs[index], node.dtype(index)
    size, zero = relax.const(np.array(sizes), dtype), relax.const(0, dtype)
    if not dtype.startswith("uint"):
        indices = relax.op.where(relax.op.less(indices, zero), relax.op.add(indices, size), indices)
    last = relax.const(np.array(sizes - 1), dtype)
    return node.emit(relax.op.minimum(relax.op.maximum(indices, zero), last))


def _eye_like(node: OnnxNode) -> relax.Expr:
    kind = node.attributes.get("dtype")
    dtype = node.dtype() if kind is None else str(onnx.helper.tensor_dtype_to_np_dtype(kind))
    return relax.const(np.eye(*node.shape(), k=node.attributes.get("k", 0)), dtype)


def _gather(node: OnnxNode) -> relax.Expr | None:
    if not node.is_tensor(0) or not (node.is_tensor(1) or node.constant(1) is not None):
        return None
    if node.constant(0) is not None and node.constant(1) is not None:
        return None
    axis = node.attributes.get("axis", 0) % len(node.shape())
    return node.emit(relax.op.take(node.inputs[0], _in_range(node, 1, node.shape()[axis]), axis, mode="clip"))


def _indices_along_axis(node: OnnxNode) -> None:
    """GatherElements and the Scatter that are like it."""
    axis = node.attributes["axis"] = node.attributes.get("axis", 0) % len(node.shape())
    node.inputs[1] = _in_range(node, 1, node.shape()[axis])


def _indices_of_elements(node: OnnxNode) -> None:
    """GatherND and ScatterND."""
    first, count = node.attributes.get("batch_dims", 0), node.shape(1)[-1]
    node.inputs[1] = _in_range(node, 1, np.array(node.shape()[first : first + count]))


def _is_inf(node: OnnxNode) -> relax.Expr | None:
    positive, negative = (node.attributes.get(f"detect_{sign}", 1) for sign in ("positive", "negative"))
    if positive and negative:
        return None
    if not positive and not negative:
        return node.emit(relax.op.zeros(relax.ShapeExpr(node.shape()), "bool"))
    value = relax.const(np.inf if positive else -np.inf, node.dtype())
    return node.emit(relax.op.equal(node.inputs[0], value))


def _layer_normalization(node: OnnxNode) -> relax.Expr | None:
    """With its statistics where they are asked for."""
    if node.outputs == 1:
        return None
    if node.dtype() != "float32":
        raise node.refusal(f"statistics of {node.dtype()}, accepted is float32")
    axis, rank = node.attributes.get("axis", -1), len(node.shape())
    axes = list(range(axis % rank, rank))
    x = node.inputs[0]
    mean = node.emit(relax.op.mean(x, axes, keepdims=True))
    centered = node.emit(relax.op.subtract(x, mean))
    variance = node.emit(relax.op.mean(relax.op.multiply(centered, centered), axes, keepdims=True))
    epsilon = relax.const(node.attributes.get("epsilon", 1e-5), "float32")
    inverse = node.emit(relax.op.rsqrt(relax.op.add(variance, epsilon)))
    result = relax.op.multiply(relax.op.multiply(centered, inverse), node.inputs[1])
    result = node.emit(result if node.input(2) is None else relax.op.add(result, node.inputs[2]))
    return relax.Tuple([result, mean, inverse])


def _lrn(node: OnnxNode) -> None:
    if node.attributes["size"] % 2 == 0:
        raise node.refusal(f"attribute size = {node.attributes['size']}, accepted are odd ones")


def _max_unpool(node: OnnxNode) -> None:
    raise node.refusal("its indices are the output Indices of MaxPool, which is not supported")


def _mod(node: OnnxNode) -> relax.Expr | None:
    """Of floats with the sign of the divisor, which may be infinite."""
    if node.attributes.get("fmod", 0) or not node.is_tensor(0) or "float" not in node.dtype():
        return None
    divisor, zero = node.inputs[1], relax.const(0, node.dtype())
    rest = node.emit(relax.op.mod(node.inputs[0], divisor))
    differ = relax.op.logical_xor(relax.op.less(rest, zero), relax.op.less(divisor, zero))
    moved = relax.op.logical_and(differ, relax.op.not_equal(rest, zero))
    return node.emit(relax.op.where(moved, relax.op.add(rest, divisor), rest))


def _non_max_suppression(node: OnnxNode) -> None:
    """TVM's converter gives it a static shape."""
    raise node.refusal("the shape of its result depends on the data")


def _one_hot(node: OnnxNode) -> relax.Expr:
    depth, values = node.constant(1), node.constant(2)
    if depth is None or values is None:
        raise node.refusal("depth and values that are no constants")
    depth, axis = int(depth.reshape(())), node.attributes.get("axis", -1)
    rank = len(node.shape()) + 1
    indices = node.cast(0, "int64")
    size, zero = relax.const(depth, "int64"), relax.const(0, "int64")
    indices = relax.op.where(relax.op.less(indices, zero), relax.op.add(indices, size), indices)
    levels = np.arange(depth).reshape([-1 if one == axis % rank else 1 for one in range(rank)])
    hit = relax.op.equal(relax.op.expand_dims(indices, axis % rank), relax.const(levels, "int64"))
    off, on = (relax.const(value, str(values.dtype)) for value in values)
    return node.emit(relax.op.where(hit, on, off))


def _pool(node: OnnxNode) -> None:
    """`auto_pad` as widths, of windows with their dilation."""
    if node.outputs > 1:
        raise node.refusal("output Indices is not supported")
    mode = node.text("auto_pad", "NOTSET")
    sizes, kernel = node.shape()[2:], node.attributes["kernel_shape"]
    ones = (1,) * len(sizes)
    strides, dilations = node.attributes.get("strides", ones), node.attributes.get("dilations", ones)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        first, last = [], []
        for axis, size in enumerate(sizes):
            windows = -(-size // strides[axis])
            total = max((windows - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1 - size, 0)
            first.append(total // 2 if mode == "SAME_UPPER" else total - total // 2)
            last.append(total - first[-1])
        node.attributes |= {"pads": (*first, *last), "ceil_mode": 0}
    node.attributes["auto_pad"] = b"NOTSET"


def _lp_pool(node: OnnxNode) -> None:
    if node.attributes.get("ceil_mode", 0):
        raise node.refusal("attribute ceil_mode = 1, accepted is 0")
    _pool(node)


def _pow(node: OnnxNode) -> relax.Expr | None:
    """The exponent may have another type; the result has the base's."""
    if not all(node.is_tensor(index) for index in range(2)):
        return None
    if node.constant(0) is not None and node.constant(1) is not None:
        return relax.const(np.power(node.constant(0), node.constant(1)), node.dtype())
    if "float" in node.dtype():
        return node.emit(relax.op.power(node.inputs[0], node.cast(1, node.dtype())))
    if "float" in node.dtype(1):
        power = relax.op.power(node.cast(0, node.dtype(1)), node.inputs[1])
        return node.emit(relax.op.astype(power, node.dtype()))
    raise node.refusal("a whole number to the power of a whole number is not supported")


_EMPTY_REDUCTIONS: dict[str, Callable[[relax.Expr], relax.Expr]] = {
    "ReduceL1": relax.op.abs,
    "ReduceL2": relax.op.abs,
    "ReduceLogSum": relax.op.log,
    "ReduceSumSquare": lambda x: relax.op.multiply(x, x),
}
"""What a reduction over no axis leaves to do."""


def _reduce(node: OnnxNode) -> relax.Expr | None:
    if node.input(1) is not None and node.constant(1) is None:
        raise node.refusal("input axes is no constant")
    axes = node.constant(1) if node.input(1) is not None else node.attributes.get("axes", ())
    if node.attributes.get("noop_with_empty_axes", 0) and not len(axes):
        rest = _EMPTY_REDUCTIONS.get(node.operator)
        return node.inputs[0] if rest is None else node.emit(rest(node.inputs[0]))
    if node.dtype() != "bool":
        return None
    reduction = {"ReduceMax": relax.op.max, "ReduceMin": relax.op.min}[node.operator]
    numbers = relax.op.astype(node.inputs[0], "uint8")
    found = reduction(numbers, [int(axis) for axis in axes] or None, bool(node.attributes.get("keepdims", 1)))
    return node.emit(relax.op.astype(found, "bool"))


def _rms_normalization(node: OnnxNode) -> relax.Expr | None:
    rank = len(node.shape())
    axes = list(range(node.attributes.get("axis", -1) % rank, rank))
    if len(axes) == 1:
        return None
    if node.dtype() != "float32":
        raise node.refusal(f"several axes of {node.dtype()}, accepted is float32")
    x = node.inputs[0]
    mean = relax.op.mean(relax.op.multiply(x, x), axes, keepdims=True)
    epsilon = relax.const(node.attributes.get("epsilon", 1e-5), "float32")
    inverse = node.emit(relax.op.rsqrt(relax.op.add(mean, epsilon)))
    return node.emit(relax.op.multiply(relax.op.multiply(x, inverse), node.inputs[1]))


def _roi_align(node: OnnxNode) -> None:
    """TVM's converter moves half a pixel before it scales, ONNX after."""
    if node.text("mode", "avg") != "avg":
        raise node.refusal(f"attribute mode = {node.text('mode', 'avg')}, accepted is avg")
    scale = relax.const(node.attributes.pop("spatial_scale", 1.0), node.dtype(1))
    node.inputs[1] = node.emit(relax.op.multiply(node.inputs[1], scale))


def _space_to_depth(node: OnnxNode) -> relax.Expr | None:
    if node.text("mode", "DCR") != "CRD":
        return None
    block, (n, c, h, w) = node.attributes["blocksize"], node.shape()
    x = relax.op.reshape(node.inputs[0], (n, c, h // block, block, w // block, block))
    x = relax.op.permute_dims(x, [0, 1, 3, 5, 2, 4])
    return node.emit(relax.op.reshape(x, (n, c * block**2, h // block, w // block)))


_SORTED = ("float32", "float64", "int8", "int32", "int64", "uint8")
"""What TVM's runtime sorts."""


def _top_k(node: OnnxNode) -> None:
    if node.dtype() not in _SORTED:
        raise node.refusal(f"numbers of {node.dtype()}, accepted are {', '.join(_SORTED)}")
    node.attributes["sorted"] = 1  # sorted ones are in some order too


_CONVERTERS: dict[str, Callable[[OnnxNode], relax.Expr | None]] = {
    "AllClassNMS": _non_max_suppression,
    "AveragePool": _pool,
    "BatchNormalization": _batch_normalization,
    "BitShift": _bit_shift,
    "Constant": _constant,
    "ConvTranspose": _conv_transpose,
    "Dropout": _dropout,
    "EyeLike": _eye_like,
    "Gather": _gather,
    "GatherElements": _indices_along_axis,
    "GatherND": _indices_of_elements,
    "IsInf": _is_inf,
    "LayerNormalization": _layer_normalization,
    "LRN": _lrn,
    "LpPool": _lp_pool,
    "MaxPool": _pool,
    "MaxUnpool": _max_unpool,
    "Mod": _mod,
    "NonMaxSuppression": _non_max_suppression,
    "OneHot": _one_hot,
    "Pow": _pow,
    "RMSNormalization": _rms_normalization,
    "Resize": convert_resize,
    "RoiAlign": _roi_align,
    "Scatter": _indices_along_axis,
    "ScatterElements": _indices_along_axis,
    "ScatterND": _indices_of_elements,
    "SpaceToDepth": _space_to_depth,
    "TopK": _top_k,
    "Upsample": convert_resize,
} | dict.fromkeys(
    (f"Reduce{what}" for what in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")),
    _reduce,
)
