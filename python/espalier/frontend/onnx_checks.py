"""What an ONNX model must fulfil before it is imported; each failure names the place in the model."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx.checker
import onnx.numpy_helper
from tvm.relax.frontend.onnx import onnx_frontend

from ..core.errors import InvalidInputError, InvalidModelError, UnsupportedOpError
from .onnx_channel_gate import is_channel_gate

_DOMAINS = ("", "ai.onnx", "com.microsoft")
_ALSO_SUPPORTED = ("If",)
_TAKE_WEIGHTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization")
_FLOATS = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.DOUBLE,
)
_SHOWN = 5


def load(model) -> onnx.ModelProto:
    """Read a model from a path, or copy a ModelProto; InvalidModelError if it is neither."""
    if isinstance(model, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    if not isinstance(model, str | os.PathLike):
        raise InvalidModelError(f"model: got {type(model).__name__}, accepted is a path or an onnx.ModelProto")
    try:
        return onnx.load(model)
    except OSError as error:
        raise InvalidModelError(f"model {model}: cannot be read ({error.strerror or first_line(error)})") from None
    except Exception as error:
        raise InvalidModelError(f"model {model}: not an ONNX file ({first_line(error)})") from None


def check_operators(model: onnx.ModelProto) -> None:
    """Raise UnsupportedOpError that names every operator without an importer, and a node of each."""
    supported = sorted({*onnx_frontend._get_convert_map(), *_ALSO_SUPPORTED})
    missing: dict[str, str] = {}
    for node in _nodes(model.graph):
        if (node.op_type not in supported or node.domain not in _DOMAINS) and not is_channel_gate(node):
            operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            missing.setdefault(operator, node.name or next(iter(node.output), ""))
    if not missing:
        return
    shown = ", ".join(f"{operator} (node {node!r})" for operator, node in list(missing.items())[:_SHOWN])
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    close = difflib.get_close_matches(next(iter(missing)).rpartition(".")[2], supported, n=_SHOWN)
    near = f" (close: {', '.join(close)})" if close else ""
    raise UnsupportedOpError(f"unsupported operators: {shown}{more}{near}; supported are {', '.join(supported)}")


def check_validity(model: onnx.ModelProto) -> None:
    """Raise InvalidModelError if onnx's own checker rejects the model.

    The checker asks for the shapes of outputs, which the import finds by itself: an absent one becomes [].
    """
    if not model.graph.node and not model.graph.output:
        raise InvalidModelError("model: holds no graph, not an ONNX model")
    for output in model.graph.output:
        output.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise InvalidModelError(f"model: not valid ONNX ({first_line(error)})") from None


def check_weights(graph: onnx.GraphProto) -> None:
    """Raise InvalidModelError for NaN in any stored tensor, and for infinity in the weights of a layer."""
    weights = {name for node in graph.node if node.op_type in _TAKE_WEIGHTS for name in node.input}
    for name, tensor in _stored_tensors(graph):
        if tensor.data_type not in _FLOATS:
            continue
        try:
            array = onnx.numpy_helper.to_array(tensor)
        except Exception as error:
            raise InvalidModelError(f"initializer {name}: cannot be read ({first_line(error)})") from None
        bad = np.isnan(array) if name not in weights else ~np.isfinite(array)
        if bad.any():
            raise InvalidModelError(
                f"initializer {name}: {bad.sum()} of {bad.size} values are NaN or infinite, accepted are finite weights"
            )


def bind_shapes(graph: onnx.GraphProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Write static shapes into the graph's inputs.

    Raises InvalidInputError for a shape that contradicts the model, InvalidModelError if an input
    stays dynamic.
    """
    names = [value.name for value in graph.input]
    for name in shapes:
        if name not in names:
            raise InvalidInputError(f"shapes: the model has no input {name!r}, accepted are {', '.join(names)}")
    for value in graph.input:
        if value.name in shapes:
            _bind(value, [int(size) for size in shapes[value.name]])
        _check_static(value)


def opset(model: onnx.ModelProto) -> int:
    """The version of the standard operators that the model is written in."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type's name."""
    lines = str(error).strip().splitlines()
    return lines[0].strip()[:200] if lines else type(error).__name__


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _nodes(subgraph)


def _stored_tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant":
            yield from ((node.output[0], attribute.t) for attribute in node.attribute if attribute.HasField("t"))


def _bind(value: onnx.ValueInfoProto, shape: list[int]) -> None:
    tensor = value.type.tensor_type
    known = _sizes(tensor)
    if known is None:
        tensor.shape.SetInParent()
        known = [None] * len(shape)
        for _ in shape:
            tensor.shape.dim.add()
    fits = len(known) == len(shape) and all(have in (None, want) for have, want in zip(known, shape))
    if not fits or any(size < 1 for size in shape):
        accepted = ["any" if size is None else size for size in known]
        raise InvalidInputError(f"shapes: input {value.name} cannot be {shape}, accepted is {accepted}")
    for dimension, size in zip(tensor.shape.dim, shape):
        dimension.dim_value = size


def _check_static(value: onnx.ValueInfoProto) -> None:
    sizes = _sizes(value.type.tensor_type)
    if sizes is None:
        raise InvalidModelError(
            f"input {value.name}: its rank is unknown; bind it, for example shapes={{{value.name!r}: (1, 3, 224, 224)}}"
        )
    for index, size in enumerate(sizes):
        if size is None:
            symbol = value.type.tensor_type.shape.dim[index].dim_param or "?"
            example = tuple(1 if size is None else size for size in sizes)
            raise InvalidModelError(
                f"input {value.name}: dimension {index} ({symbol}) is dynamic; "
                f"bind it, for example shapes={{{value.name!r}: {example}}}"
            )


def _sizes(tensor: onnx.TypeProto.Tensor) -> list[int | None] | None:
    """Static sizes, None for a dynamic one; None for an unknown rank."""
    if not tensor.HasField("shape"):
        return None
    return [dimension.dim_value or None for dimension in tensor.shape.dim]
