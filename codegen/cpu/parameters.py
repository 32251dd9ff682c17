"""The parameters of a program that keeps them outside of its library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from espalier.ir.dataflow import Dataflow, constant

from .packing import Packings, Recipe, digest_of, names_in, pack

OTHER = "/constant"
"""Role of what is a constant of the program and no parameter of a layer as it is."""


@dataclass(frozen=True)
class Parameters:
    """What `main` takes after the inputs.

    arrays: by name, "layer/role", as the module has them. recipes: for each argument of main, how it is made of
    arrays.
    """

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    recipes: tuple[Recipe, ...] = ()

    def packed(self) -> list[np.ndarray]:
        """The arguments; KeyError for an array or a packing that is not known."""
        return [pack(recipe, self.arrays) for recipe in self.recipes]


def parameters_of(mod: tvm.IRModule) -> dict[str, np.ndarray]:
    """Every constant that an operator of ours takes, by "layer/role"."""
    flow, found = Dataflow.of(mod), {}
    for operator in filter(None, map(flow.operator_of, flow.values)):
        _, spec, call = operator
        for role, expr in zip(spec.roles, call.args):
            value = constant(expr)
            if value is not None:
                found[f"{spec.name}/{role}"] = value
    return found


def lift_constants(
    mod: tvm.IRModule, given: Mapping[str, np.ndarray], packings: Packings
) -> tuple[tvm.IRModule, Parameters]:
    """The module whose main takes its constants as further arguments, and these.

    given: what `parameters_of` found before the operators were lowered. A constant that is none of them, packed or
    not, is kept as it is, under the role OTHER.
    """
    lifter = _ConstantLifter(mod)
    main = lifter.lifted()
    names = {digest_of(array): name for name, array in reversed(given.items())}
    arrays, recipes = {}, []
    for number, (packed, value) in enumerate(lifter.constants.items()):
        recipes.append(packings.recipe(packed, names) or f"{number}{OTHER}")
        arrays |= {name: given.get(name, value) for name in names_in(recipes[-1])}
    return main, Parameters(arrays, tuple(recipes))


@mutator
class _ConstantLifter(PyExprMutator):
    def __init__(self, mod: tvm.IRModule):
        super().__init__(mod)
        self.mod = mod
        self.constants: dict[str, np.ndarray] = {}
        self.vars: dict[str, relax.Var] = {}

    def lifted(self) -> tvm.IRModule:
        main, gvar = self.mod["main"], self.mod.get_global_var("main")
        body = self.visit_expr(main.body)
        params = [*main.params, *self.vars.values()]
        self.builder_.update_func(gvar, relax.Function(params, body, main.ret_ty, main.is_pure, main.attrs))
        return self.builder_.get()

    def visit_generic_const_(self, op) -> relax.Expr:
        value = op.value.numpy()
        if value.dtype.kind not in "biuf":
            return op
        key = digest_of(value)
        self.constants[key] = value
        return self.vars.setdefault(key, relax.Var(f"constant{len(self.vars)}", op.ty))
