"""ONNX models to Relax."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence

import onnx
import onnx.inliner
import tvm
from tvm import relax
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

from ..core import ir_names
from ..core.errors import EspalierError, InvalidModelError, UnsupportedOpError, first_line
from . import onnx_channel_gate, onnx_operators
from . import onnx_checks as checks
from .channel_gate import emit_channel_gate
from .layer_names import CONVOLUTION, MATMUL, layer_name, name_layers
from .onnx_node import OnnxNode

_LAYER_KINDS = {"Conv": CONVOLUTION, "ConvTranspose": CONVOLUTION, "Gemm": MATMUL, "MatMul": MATMUL}
_MORE_OUTPUTS = ("BatchNormalization", "Dropout", "LayerNormalization", "MaxPool")
_SAME_TENSOR = ("Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "Reshape", "Transpose")


def from_onnx(model, shapes: Mapping[str, Sequence[int]] | None = None) -> tvm.IRModule:
    """Import an ONNX model.

    model: a path or an onnx.ModelProto.
    shapes: static shapes by input name, for inputs whose shape the model leaves open.

    The function `main` takes the model's inputs under their names; weights are constants. Layers are
    named after their weight ("layer1.0.conv1.weight" gives "layer1.0.conv1"), else after their node.
    Channel gates (`onnx_channel_gate`) come with the model.
    The module attribute `ir_names.OUTPUT_NAMES` lists the names of the outputs.

    Raises InvalidModelError if the model is no valid ONNX, has an unbound dynamic dimension or a
    weight that is not finite; UnsupportedOpError, naming the node, for an operator that is missing.
    """
    return import_onnx(model, shapes)[0]


def import_onnx(model, shapes: Mapping[str, Sequence[int]] | None = None) -> tuple[tvm.IRModule, dict]:
    """As `from_onnx`; also returns the module's constants by the name of their tensor in the model."""
    model = _prepared(model)
    checks.check_operators(model)
    _remove_initializers_from_inputs(model.graph)
    checks.check_types(model.graph)
    checks.bind_shapes(model.graph, shapes or {})
    checks.check_validity(model)
    checks.check_weights(model.graph)
    layers = _layers(model.graph)
    _name_nodes(model.graph)
    _drop_unread_outputs(model.graph)
    mod, importer = _imported(model)
    _check_static_outputs(mod["main"], model.graph)
    checks.check_values(model, importer._nodes)
    mod = name_layers(mod, layers)
    constants = {name: value for name, value in importer._nodes.items() if isinstance(value, tvm.ir.GenericConst)}
    return mod.with_attr(ir_names.OUTPUT_NAMES, [output.name for output in model.graph.output]), constants


def _imported(model: onnx.ModelProto) -> tuple[tvm.IRModule, ONNXGraphImporter]:
    """The module as TVM's importer makes it, and the importer with the value of each tensor."""
    importer = _ProgramOrderImporter(None, "float32", sanitize=False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return importer.from_onnx(model.graph, checks.opset(model)), importer
    except EspalierError:
        raise
    except Exception as error:
        raise UnsupportedOpError(f"model: cannot be imported ({first_line(error)})") from error


class _ProgramOrderImporter(ONNXGraphImporter):
    """Binds each layer when its node is reached; the parent binds it at its first use, in another order.

    Clip and Pad become the operators of these names; the parent writes loops, which no pass recognises.
    """

    def _check_for_unsupported_ops(self, graph):
        """`checks.check_operators` has done it, which also knows our own operator."""

    def _construct_nodes(self, graph):
        """As the parent; sizes that the model returns become tensors."""
        super()._construct_nodes(graph)
        for output in graph.output:
            value = self._nodes[output.name]
            if isinstance(value, relax.ShapeExpr):
                self._nodes[output.name] = relax.const([int(size) for size in value], "int64")

    def _convert_operator(self, op_name, inputs, attrs, opset):
        if op_name == onnx_channel_gate.NAME:
            name, numbers = attrs["tvm_custom"]["name"], (attrs.get(key, 0) for key in ("granularity", "kept"))
            return emit_channel_gate(self.bb, name, list(inputs), *numbers)
        bounds = _clip_bounds(inputs, attrs) if op_name == "Clip" else None
        if bounds is not None:
            return self.bb.normalize(relax.op.clip(inputs[0], *bounds))
        widths = _pad_widths(inputs, attrs) if op_name == "Pad" else None
        if widths is not None:
            return self.bb.normalize(relax.op.nn.pad(inputs[0], widths, "constant", 0))
        node = OnnxNode(self.bb, op_name, inputs, attrs, opset)
        try:
            result = onnx_operators.convert(node)
            if result is None:
                result = super()._convert_operator(op_name, inputs, node.attributes, opset)
        except EspalierError:
            raise
        except Exception as error:
            raise node.refusal(first_line(error)) from error
        self._check_number_of_results(node, result)
        return self.bb.emit(result) if op_name in _LAYER_KINDS else result

    def _check_number_of_results(self, node: OnnxNode, result: relax.Expr) -> None:
        fields = getattr(getattr(result, "ty", None), "fields", None)
        given = len(result) if isinstance(result, relax.Tuple) else 1 if fields is None else len(fields)
        if node.outputs > given:
            raise node.refusal(f"{node.outputs} outputs are asked for, accepted are {given}")


def _clip_bounds(inputs, attrs: Mapping) -> tuple[float, float] | None:
    """The constant bounds of a Clip on float32; None if they are something else."""
    if str(inputs[0].ty.dtype) != "float32":
        return None
    bounds = []
    for index, key, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        given = inputs[index]
        if given is not None and not isinstance(given, tvm.ir.GenericConst):
            return None
        bounds.append(float(attrs.get(key, default)) if given is None else float(given.value.numpy()))
    return min(bounds), bounds[1]  # the upper one counts where they are crossed


def _pad_widths(inputs, attrs: Mapping) -> list[int] | None:
    """Constant widths before and after each axis of a Pad with zeros; None if it is something else."""
    widths, value, axes = [*inputs[1:4], None, None, None][:3]
    mode = attrs.get("mode", b"constant")
    if mode not in ("constant", b"constant") or axes is not None or not isinstance(widths, tvm.ir.GenericConst):
        return None
    if value is not None and not (isinstance(value, tvm.ir.GenericConst) and float(value.value.numpy()) == 0):
        return None
    given = [int(one) for one in widths.value.numpy()]
    half = len(given) // 2
    return [one for pair in zip(given[:half], given[half:]) for one in pair] if min(given) >= 0 else None


def _prepared(model) -> onnx.ModelProto:
    """A copy of the model that may be changed, without functions of its own; a channel gate stays one node."""
    model = checks.load(model)
    if not model.functions:
        return model
    gate = (onnx_channel_gate.DOMAIN, onnx_channel_gate.NAME)
    return onnx.inliner.inline_selected_functions(model, [gate], exclude=True)


def _remove_initializers_from_inputs(graph: onnx.GraphProto) -> None:
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    del graph.input[:]
    graph.input.extend(inputs)


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Call nodes without a name by their first output, for errors."""
    for node in graph.node:
        if not node.name and node.output:
            node.name = node.output[0]


def _drop_unread_outputs(graph: onnx.GraphProto) -> None:
    """Ask for no indices, masks and statistics that nothing reads."""
    read = {output.name for output in graph.output} | {name for node in graph.node for name in node.input}
    for node in graph.node:
        while node.op_type in _MORE_OUTPUTS and len(node.output) > 1 and node.output[-1] not in read:
            node.output.pop()


def _layers(graph: onnx.GraphProto) -> list[tuple[str, str]]:
    """Kind and name of each layer, in the order of the nodes."""
    stored = {tensor.name for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    layers: list[tuple[str, str]] = []
    counts: dict[str, int] = {}
    for node in graph.node:
        if node.op_type not in _LAYER_KINDS:
            continue
        count = counts[node.op_type] = counts.get(node.op_type, -1) + 1
        weight = _weight_name(node, stored, makers)
        layers.append((_LAYER_KINDS[node.op_type], layer_name(weight, node.name, f"{node.op_type}_{count}")))
    return layers


def _weight_name(node: onnx.NodeProto, stored: set[str], makers: Mapping[str, onnx.NodeProto]) -> str | None:
    """The initializer behind the node's second input, looking through casts and the like."""
    name = node.input[1]
    while name not in stored:
        maker = makers.get(name)
        if maker is None or maker.op_type not in _SAME_TENSOR:
            return None
        name = maker.input[0]
    return name.removesuffix("_quantized")  # as ONNX Runtime calls the weights that it quantizes


def _check_static_outputs(main: relax.Function, graph: onnx.GraphProto) -> None:
    types = main.ret_ty.fields if isinstance(main.ret_ty, relax.TupleType) else [main.ret_ty]
    for output, output_type in zip(graph.output, types):
        shape = getattr(output_type, "shape", None)
        if shape is None or not all(isinstance(size, tvm.tirx.IntImm) for size in shape):
            raise InvalidModelError(
                f"output {output.name}: its shape depends on the data, accepted are shapes that follow from the inputs'"
            )
