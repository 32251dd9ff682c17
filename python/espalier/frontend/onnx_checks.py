"""What an ONNX model must fulfil before it is imported; each failure names the place in the model."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx.checker
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from ..core.errors import InvalidInputError, InvalidModelError, UnsupportedOpError, first_line
from .onnx_channel_gate import is_channel_gate

_DOMAINS = ("", "ai.onnx", "com.microsoft")
_CONTRIBUTED = (
    "Attention",
    "BiasGelu",
    "EmbedLayerNormalization",
    "FastGelu",
    "SkipLayerNormalization",
)
"""Operators that are those of com.microsoft; one of the same name in the standard is another."""
_TAKE_WEIGHTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization")
_FLOATS = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.DOUBLE,
)
_TYPES = (
    *(onnx.TensorProto.BOOL, onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE),
    *(onnx.TensorProto.INT8, onnx.TensorProto.INT16, onnx.TensorProto.INT32, onnx.TensorProto.INT64),
    *(onnx.TensorProto.UINT8, onnx.TensorProto.UINT16, onnx.TensorProto.UINT32, onnx.TensorProto.UINT64),
)
"""What arrays are handed over in."""
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
    supported = sorted(onnx_frontend._get_convert_map())
    missing: dict[str, str] = {}
    for node in _nodes(model.graph):
        domains = _DOMAINS[2:] if node.op_type in _CONTRIBUTED else _DOMAINS
        if (node.op_type not in supported or node.domain not in domains) and not is_channel_gate(node):
            operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            missing.setdefault(operator, node.name or next(iter(node.output), ""))
    if not missing:
        return
    shown = ", ".join(f"{operator} (node {node!r})" for operator, node in list(missing.items())[:_SHOWN])
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    close = difflib.get_close_matches(next(iter(missing)).rpartition(".")[2], supported, n=_SHOWN)
    close = [name for name in close if name not in missing]
    near = f" (close: {', '.join(close)})" if close else ""
    raise UnsupportedOpError(f"unsupported operators: {shown}{more}{near}; supported are {', '.join(supported)}")


def check_validity(model: onnx.ModelProto) -> None:
    """Raise InvalidModelError if onnx's own checker rejects the model.

    The checker asks for the shapes of outputs, which the import finds by itself: it is shown [] for an absent one.
    """
    if not model.graph.node and not model.graph.output:
        raise InvalidModelError("model: holds no graph, not an ONNX model")
    without = [output for output in model.graph.output if not output.type.tensor_type.HasField("shape")]
    for output in without:
        output.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise InvalidModelError(f"model: not valid ONNX ({first_line(error)})") from None
    for output in without:
        output.type.tensor_type.ClearField("shape")


def check_types(graph: onnx.GraphProto) -> None:
    """Raise UnsupportedOpError for an input or output that is no tensor of numbers numpy has, and for stored texts."""
    accepted = ", ".join(_name_of(kind) for kind in _TYPES)
    for place, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            kind = value.type.tensor_type.elem_type
            if value.type.WhichOneof("value") not in (None, "tensor_type"):
                raise UnsupportedOpError(f"{place} {value.name}: is no tensor, accepted are tensors")
            if kind and kind not in _TYPES:
                raise UnsupportedOpError(f"{place} {value.name}: is of {_name_of(kind)}, accepted are {accepted}")
    for name, tensor in _stored_tensors(graph):
        if tensor.data_type == onnx.TensorProto.STRING:
            raise UnsupportedOpError(f"initializer {name}: is of string, accepted are numbers")


def _name_of(kind: int) -> str:
    return onnx.TensorProto.DataType.Name(kind).lower()


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


def check_values(model: onnx.ModelProto, imported: Mapping[str, relax.Expr]) -> None:
    """Raise UnsupportedOpError if a tensor was imported with another type or shape than ONNX gives it.

    imported: what became of each tensor, by its name in the model. Only what is read or returned counts, and only
    static sizes are compared. InvalidModelError if an output is something else than the model itself declares.
    """
    declared = {value.name: value for value in model.graph.output}
    expected = _inferred(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    read = {name for node in _nodes(model.graph) for name in node.input} | declared.keys()
    for name, node in makers.items():
        ty = getattr(imported.get(name), "ty", None)
        if name not in read or not isinstance(ty, relax.TensorType):
            continue
        have = _of_relax(ty)
        if have[1] is None or None in have[1]:
            raise UnsupportedOpError(
                f"node {node.name!r} ({node.op_type}): the shape of its result {name} depends on the data"
            )
        if name in expected and _differ(have, _of_onnx(expected[name])):
            raise UnsupportedOpError(
                f"node {node.name!r} ({node.op_type}): its result {name} would become {_text(have)}, "
                f"by ONNX it is {_text(_of_onnx(expected[name]))}"
            )
        if name in declared and _differ(have, _of_onnx(declared[name])):
            raise InvalidModelError(
                f"output {name}: the model declares {_text(_of_onnx(declared[name]))}, computed is {_text(have)}"
            )


def _inferred(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """What ONNX's shape inference finds for each tensor, from the inputs alone."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    for output in bare.graph.output:
        output.ClearField("type")
    try:
        graph = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    except Exception as error:
        raise InvalidModelError(f"model: its shapes do not fit ({first_line(error)})") from None
    return {value.name: value for value in (*graph.value_info, *graph.output)}


def _of_relax(ty: relax.TensorType) -> tuple[str, list[int | None] | None]:
    """(type, sizes) of an imported tensor; None for what is not known."""
    if not isinstance(ty.shape, relax.ShapeExpr):
        return str(ty.dtype), None
    return str(ty.dtype), [int(size) if isinstance(size, tvm.tirx.IntImm) else None for size in ty.shape]


def _of_onnx(value: onnx.ValueInfoProto) -> tuple[str | None, list[int | None] | None]:
    """(type, sizes) as ONNX has them; None for what is not known."""
    tensor = value.type.tensor_type
    kind = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)) if tensor.elem_type else None
    return kind, _sizes(tensor)


def _differ(one: tuple, other: tuple) -> bool:
    """Whether two (type, sizes) contradict each other."""
    if one[0] is not None and other[0] is not None and one[0] != other[0]:
        return True
    if one[1] is None or other[1] is None:
        return False
    pairs = zip(one[1], other[1])
    return len(one[1]) != len(other[1]) or any(None not in pair and pair[0] != pair[1] for pair in pairs)


def _text(known: tuple) -> str:
    sizes = "of any rank" if known[1] is None else ["any" if size is None else size for size in known[1]]
    return f"{known[0] or 'any type'} {sizes}"


def opset(model: onnx.ModelProto) -> int:
    """The version of the standard operators that the model is written in."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


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
