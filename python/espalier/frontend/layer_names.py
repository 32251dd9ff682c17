"""Names for layers and parameters: what a plan refers to.

A layer's name is the name of the variable that its convolution or matrix product is bound to.
"""

from __future__ import annotations

from collections.abc import Iterable

import tvm
from tvm import relax

from ..ir.rewriting import rename_variables

CONVOLUTION = "convolution"
MATMUL = "matmul"

_KINDS = {
    "relax.nn.conv1d": CONVOLUTION,
    "relax.nn.conv2d": CONVOLUTION,
    "relax.nn.conv3d": CONVOLUTION,
    "relax.nn.conv1d_transpose": CONVOLUTION,
    "relax.nn.conv2d_transpose": CONVOLUTION,
    "relax.nn.conv3d_transpose": CONVOLUTION,
    "relax.matmul": MATMUL,
}


def layer_name(weight: str | None, *others: str) -> str:
    """The weight's name without ".weight" where it ends so, else the first of `others` that is not empty."""
    if weight and weight.endswith(".weight"):
        return weight.removesuffix(".weight")
    return next(name for name in others if name)


def unique(names: Iterable[str]) -> list[str]:
    """The names, with "_1", "_2" and so on after those that came before."""
    taken: set[str] = set()
    result = []
    for name in names:
        candidate, count = name, 0
        while candidate in taken:
            count += 1
            candidate = f"{name}_{count}"
        taken.add(candidate)
        result.append(candidate)
    return result


def name_layers(mod: tvm.IRModule, layers: Iterable[tuple[str, str]]) -> tvm.IRModule:
    """Name the layers of `main`, given as (kind, name) in program order; kind is CONVOLUTION or MATMUL.

    Where a kind has another number of layers than of names, its generated names stay.
    """
    kinds, names = [], []
    for kind, name in layers:
        kinds.append(kind)
        names.append(name)
    by_kind: dict[str, list[str]] = {CONVOLUTION: [], MATMUL: []}
    for kind, name in zip(kinds, unique(names)):
        by_kind[kind].append(name)
    found = _layer_variables(mod["main"])
    renamed = {}
    for kind, variables in found.items():
        if len(variables) == len(by_kind[kind]):
            renamed.update(zip(variables, by_kind[kind]))
    return rename_variables(mod, renamed)


def _layer_variables(function: relax.Function) -> dict[str, list[relax.Var]]:
    found: dict[str, list[relax.Var]] = {CONVOLUTION: [], MATMUL: []}
    for block in function.body.blocks:
        for binding in block.bindings:
            operator = getattr(getattr(binding, "value", None), "op", None)
            if isinstance(operator, tvm.ir.Op) and operator.name in _KINDS:
                found[_KINDS[operator.name]].append(binding.var)
    return found
