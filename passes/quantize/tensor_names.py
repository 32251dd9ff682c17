"""Names of the tensors between layers, the same whenever a network is prepared: what ranges are kept under."""

from __future__ import annotations

from tvm import relax

from espalier.core.ir_names import CHANNEL_GATE
from espalier.ir.dataflow import Dataflow, dtype_of


def tensor_names(flow: Dataflow) -> dict[relax.Var, str]:
    """The name of every float32 tensor of main but the factors of gates.

    An input keeps its name, the output of a layer has the layer's, and what another operator gives is called after
    its first operand and the operator: "layer4.conv2/mean". Names that would be the same get "_1", "_2", ...
    """
    names: dict[relax.Var, str] = {}
    taken: set[str] = set()
    for var in (*flow.mod["main"].params, *flow.values):
        name = _name(flow, var, names)
        if name is None:
            continue
        names[var] = unused = next(one for one in _candidates(name) if one not in taken)
        taken.add(unused)
    return {var: name for var, name in names.items() if is_real(var)}


def is_real(var: relax.Var) -> bool:
    """Whether a variable is a float32 tensor."""
    return isinstance(var.ty, relax.TensorType) and dtype_of(var) == "float32"


def gate_names(layer: str) -> tuple[str, str]:
    """The names of what a layer's gate reads of its input, ss(x), and of its saliencies."""
    return f"{layer}.gate/ss", f"{layer}.gate/pi"


def _name(flow: Dataflow, var: relax.Var, names: dict[relax.Var, str]) -> str | None:
    if var not in flow.values:
        return var.name
    operator = flow.operator_of(var)
    if operator:
        return operator[1].name if operator[0] != CHANNEL_GATE else None
    value = flow.values[var]
    first = next((one for one in relax.analysis.free_vars(value) if one in names), None)
    if first is None:
        return None
    call = flow.call_of(var)
    return names[first] if call is None else f"{names[first]}/{call.op.name.rsplit('.', 1)[-1]}"


def _candidates(name: str):
    yield name
    number = 0
    while True:
        number += 1
        yield f"{name}_{number}"
