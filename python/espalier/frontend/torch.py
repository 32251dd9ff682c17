"""PyTorch modules to Relax."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import tvm
from tvm import relax

from ..core import ir_names
from ..core.errors import (
    EspalierError,
    InvalidInputError,
    InvalidModelError,
    ToolNotFoundError,
    UnsupportedOpError,
    first_line,
)
from ..ir.rewriting import rename_variables
from .channel_gate import emit_channel_gate
from .layer_names import CONVOLUTION, MATMUL, layer_name, name_layers

_WEIGHT_ARGUMENT = {"addmm": 2, "baddbmm": 2}
_LAYER_KINDS = {
    **dict.fromkeys(("convolution", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d"), CONVOLUTION),
    **dict.fromkeys(("addmm", "baddbmm", "bmm", "linear", "matmul", "mm"), MATMUL),
}
_CHANNEL_GATE = "espalier.channel_gate.default"
"""How torch prints the operator that `espalier.training` exports a gate as."""

_SAME_TENSOR = ("_to_copy", "alias", "clone", "expand", "permute", "t", "transpose", "unsqueeze", "view")


def from_torch(module_or_exported_program, example=None) -> tvm.IRModule:
    """Import a PyTorch module.

    module_or_exported_program: an nn.Module, a traced or scripted one, or a torch.export.ExportedProgram.
        A module is exported as for inference; its own state is left as it was.
    example: a tensor or array, or a tuple of them, with the shapes and types of the inputs; not needed
        for an ExportedProgram.

    The function `main` takes the inputs under the names of `forward`; weights are constants. Layers are
    named after their weight ("layer1.0.conv1.weight" gives "layer1.0.conv1"), else after their module.
    Channel gates of `espalier.training` come with the network.
    The module attribute `ir_names.OUTPUT_NAMES` lists the names of the outputs.

    Raises ToolNotFoundError without torch, InvalidInputError without an example, InvalidModelError for
    a module that torch cannot export, a dynamic dimension or weights that are not finite, and
    UnsupportedOpError, naming the operator, for one that is missing or has an option that cannot be converted.
    """
    mod, params = import_torch(module_or_exported_program, example)
    return relax.transform.BindParams("main", params)(mod)


def import_torch(model, example=None) -> tuple[tvm.IRModule, dict]:
    """As `from_torch`, but the weights stay parameters after the inputs; also returns their values by name."""
    torch = require_torch()
    from .torch_operators import OperatorImporter

    program = model if isinstance(model, torch.export.ExportedProgram) else exported_program(model, example)
    _check_static_inputs(torch, program)
    _check_weights(torch, program)
    outputs = list(program.graph_signature.user_outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = program.run_decompositions()
    importer = OperatorImporter()
    _check_operators(program, importer.convert_map)
    try:
        mod = importer.from_exported_program(
            program,
            keep_params_as_input=True,
            unwrap_unit_return_tuple=True,
            no_bind_return_tuple=False,
            custom_convert_map=_gate_converters(program),
        )
    except EspalierError:
        raise
    except Exception as error:
        raise UnsupportedOpError(f"exported program: {first_line(error)}") from error
    mod, params = _with_parameter_names(*relax.frontend.detach_params(mod), program)
    mod = name_layers(mod, _layers(program))
    return mod.with_attr(ir_names.OUTPUT_NAMES, [str(name) for name in outputs]), params


def require_torch():
    """The torch package; ToolNotFoundError with the install command if it is missing."""
    try:
        import torch
        import torch.export
    except ImportError:
        raise ToolNotFoundError('PyTorch is not installed; install it with: pip install "espalier[torch]"') from None
    return torch


def zeros(shape, dtype: str):
    """A tensor of zeros; InvalidInputError if torch has no such type."""
    torch = require_torch()
    if not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise InvalidInputError(f"dtype: got {dtype!r}, accepted are the names of torch's types such as float32")
    return torch.zeros(shape, dtype=getattr(torch, dtype))


def _example_inputs(torch, example) -> tuple:
    if example is None:
        raise InvalidInputError("from_torch: the example is missing, accepted is a tensor, an array or a tuple of them")
    examples = example if isinstance(example, tuple | list) else (example,)
    return tuple(value if isinstance(value, torch.Tensor) else torch.as_tensor(value) for value in examples)


def exported_program(model, example):
    """The torch.export.ExportedProgram of a module in inference mode; see `from_torch`."""
    torch = require_torch()
    example = _example_inputs(torch, example)
    if not isinstance(model, torch.nn.Module):
        raise InvalidModelError(
            f"from_torch: got {type(model).__name__}, accepted is an nn.Module (also traced) or an ExportedProgram"
        )
    with _inference_mode(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if isinstance(model, torch.jit.ScriptModule):
                model = _from_script(torch, model, example)
            return torch.export.export(model, example)
        except Exception as error:
            reason = first_line(error)
            raise InvalidModelError(f"from_torch: torch.export cannot trace the module ({reason})") from error


@contextlib.contextmanager
def _inference_mode(model) -> Iterator[None]:
    flags = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in flags.items():
            module.training = training


def _from_script(torch, model, example: tuple):
    """A plain module that computes what a traced or scripted one does: torch.export takes no scripted one."""
    from torch._export.converter import TS2EPConverter

    logging.disable(logging.WARNING)  # it warns of dynamic dimensions, which the export that follows makes static
    try:
        return TS2EPConverter(model, example).convert().module()
    finally:
        logging.disable(logging.NOTSET)


def _check_static_inputs(torch, program) -> None:
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and isinstance(value, torch.Tensor):
            for index, size in enumerate(value.shape):
                if not isinstance(size, int):
                    raise InvalidModelError(
                        f"input {node.name}: dimension {index} ({size}) is dynamic; export without dynamic_shapes"
                    )


def _check_weights(torch, program) -> None:
    parameters = {name for name, _ in program.named_parameters()}
    for name, tensor in program.state_dict.items():
        if not tensor.is_floating_point():
            continue
        bad = ~torch.isfinite(tensor) if name in parameters else torch.isnan(tensor)
        if bad.any():
            raise InvalidModelError(
                f"weight {name}: {int(bad.sum())} of {bad.numel()} values are NaN or infinite, "
                "accepted are finite weights"
            )


def _check_operators(program, supported: dict) -> None:
    missing: dict[str, str] = {}
    for node in program.graph.nodes:
        known = node.op != "call_function" or node.target.__name__ in supported or _is_channel_gate(node)
        if not known:
            missing.setdefault(str(node.target), f"module {_module_path(node) or '(root)'}, node {node.name}")
    if missing:
        shown = ", ".join(f"{operator} ({place})" for operator, place in missing.items())
        names = sorted({name.split(".")[0] for name in supported if not name.startswith("_")})
        raise UnsupportedOpError(f"unsupported operators: {shown}; supported are {', '.join(names)}")


def _is_channel_gate(node) -> bool:
    return str(node.target) == _CHANNEL_GATE


def _gate_converters(program) -> dict:
    """What TVM's importer calls for the gates of this program."""
    stored = program.graph_signature.inputs_to_parameters

    def convert(node, importer) -> relax.Tuple:
        phi = node.args[1]
        name = str(stored.get(phi.name, phi.name)).removesuffix(".phi")
        arguments = [importer.env[argument] for argument in node.args[:3]]
        return emit_channel_gate(importer.block_builder, name, arguments, *node.args[3:])

    return {node.target.__name__: convert for node in program.graph.nodes if _is_channel_gate(node)}


def _with_parameter_names(mod: tvm.IRModule, values: dict, program) -> tuple[tvm.IRModule, dict]:
    """Weights under the names they have in the module, in place of the exporter's."""
    targets = program.graph_signature.inputs_to_parameters
    weights = [parameter for parameter in mod["main"].params if parameter.name in targets]
    names = [name for name, _ in program.named_parameters()]
    named = dict(zip(names, values.get("main", [])))
    mod = rename_variables(mod, {weight: targets[weight.name] for weight in weights})
    kept = {parameter.name for parameter in mod["main"].params}
    return mod, {name: value for name, value in named.items() if name in kept}


def _layers(program) -> list[tuple[str, str]]:
    """Kind and name of each layer, in the order of the graph."""
    signature = program.graph_signature
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    layers = []
    for node in program.graph.nodes:
        operator = _operator(node)
        if operator in _LAYER_KINDS:
            weight = node.args[_WEIGHT_ARGUMENT.get(operator, 1)]
            while _operator(weight) in _SAME_TENSOR:
                weight = weight.args[0]
            name = layer_name(stored.get(weight.name), _module_path(node), node.name)
            layers.append((_LAYER_KINDS[operator], name))
    return layers


def _operator(node) -> str | None:
    """The operator's name without its overload, None for a node that calls none."""
    return node.target.__name__.split(".")[0] if node.op == "call_function" else None


def _module_path(node) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return stack[-1][0] if stack else ""
