"""A network with gates as an ONNX file, in which every gate stays one operator that `espalier.from_onnx` reads.

The operator is `frontend.onnx_channel_gate.OPERATOR`. The file says in standard operators what it means, as a function
of the model, so that other runtimes compute the same network.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx.parser
import torch
from onnx import defs

from ..core.errors import InvalidModelError, ToolNotFoundError
from ..core.files import write_atomically
from ..frontend.onnx_channel_gate import DOMAIN, NAME, VERSION
from ..frontend.torch import exported_program
from . import gate_operator  # noqa: F401  it registers the operator that is translated

try:
    from onnxscript import FLOAT, optimizer, values
except ImportError:
    raise ToolNotFoundError(
        'writing ONNX files from torch needs onnxscript; install it with: pip install "espalier[training]"'
    ) from None

OPSET = 20
"""Version of ONNX's standard operators."""

FUNCTION = f"""
<domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
{NAME} <granularity, kept> (x, phi, rho) => (pi, mask)
{{
    pixels = Constant <value_ints: ints = [2, 3]> ()
    magnitude = Abs (x)
    subsampled = ReduceMean <keepdims: int = 0> (magnitude, pixels)
    product = MatMul (subsampled, phi)
    sum = Add (product, rho)
    saliency = Relu (sum)

    same = Constant <value_ints: ints = [0]> ()
    one = Constant <value_ints: ints = [1]> ()
    rest = Constant <value_ints: ints = [-1]> ()
    lanes = Constant <value_ints: ints = [2]> ()
    g = Constant <value_int: int = @granularity> ()
    size = Reshape (g, one)
    groups = Concat <axis: int = 0> (same, rest, size)
    grouped = Reshape (saliency, groups)
    score = ReduceSum <keepdims: int = 0> (grouped, lanes)

    k = Constant <value_int: int = @kept> ()
    count = Reshape (k, one)
    best, winners = TopK (score, count)
    shape = Shape (score)
    zeros = ConstantOfShape <value: tensor = float[1] {{0}}> (shape)
    listed = Shape (winners)
    ones = ConstantOfShape <value: tensor = float[1] {{1}}> (listed)
    wins = ScatterElements <axis: int = 1> (zeros, winners, ones)
    column = Unsqueeze (wins, lanes)
    widths = Concat <axis: int = 0> (one, one, size)
    spread = Expand (column, widths)
    flat = Concat <axis: int = 0> (same, rest)
    mask = Reshape (spread, flat)
    pi = Mul (saliency, mask)
}}
"""
"""Of equal scores TopK takes the first, which is the lowest group."""

_FLOAT = "tensor(float)"
_SCHEMA = defs.OpSchema(
    NAME,
    DOMAIN,
    VERSION,
    inputs=[defs.OpSchema.FormalParameter(name, _FLOAT) for name in ("x", "phi", "rho")],
    outputs=[defs.OpSchema.FormalParameter(name, _FLOAT) for name in ("pi", "mask")],
    attributes=[
        defs.OpSchema.Attribute(name, defs.OpSchema.AttrType.INT, required=True) for name in ("granularity", "kept")
    ],
)
_OPERATOR = values.Op(values.Opset(DOMAIN, VERSION), NAME, _SCHEMA)


def export_onnx(model: torch.nn.Module, example, path) -> None:
    """Write a network, with or without gates, as for inference and at its present densities.

    model: from `insert_gates`, or any other. example: a tensor, or a tuple of them, with the shapes of the inputs.

    Raises InvalidModelError for a network that torch cannot export.
    """
    program = exported_program(model, example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            written = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                optimize=False,  # it would fold batch norms, and round otherwise than the compiler does
                custom_translation_table={torch.ops.espalier.channel_gate.default: _translated},
                verbose=False,
            )
        except Exception as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise InvalidModelError(f"export_onnx: torch cannot write the network ({reason})") from error
    optimizer.fold_constants(written.model)
    optimizer.remove_unused_nodes(written.model)
    proto = written.model_proto
    _forget_sources(proto.graph)
    if any(node.domain == DOMAIN for node in proto.graph.node):
        proto.functions.append(onnx.parser.parse_function(FUNCTION))
    write_atomically(Path(path), proto.SerializeToString())


def _forget_sources(graph: onnx.GraphProto) -> None:
    """Drop what torch notes of where each value comes from: stack traces, which name the folders of this machine."""
    for one in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del one.metadata_props[:]


def _translated(x: FLOAT, phi: FLOAT, rho: FLOAT, granularity: int, kept: int) -> tuple[FLOAT, FLOAT]:
    return _OPERATOR(x, phi, rho, granularity=granularity, kept=kept)
