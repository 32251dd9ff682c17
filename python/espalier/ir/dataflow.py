"""A read-only view of a module's main function: who defines and who uses each value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from espalier.core.ir_names import LAYERS

from .operators import operator_of


@dataclass(frozen=True)
class Dataflow:
    """Bindings of `main` in program order.

    values: the expression bound to each variable. users: variables whose expression mentions a
    variable, in program order. result: the expression that main returns.
    """

    mod: tvm.IRModule
    values: dict[relax.Var, relax.Expr]
    users: dict[relax.Var, list[relax.Var]]
    result: relax.Expr

    @staticmethod
    def of(mod: tvm.IRModule) -> Dataflow:
        """The view of `mod["main"]`."""
        main = mod["main"]
        values, users = {}, {var: [] for var in main.params}
        for block in main.body.blocks:
            for binding in block.bindings:
                values[binding.var] = binding.value
                users[binding.var] = []
                for used in _free_vars(binding.value):
                    users[used].append(binding.var)
        return Dataflow(mod, values, users, main.body.body)

    def outputs(self) -> list[relax.Expr]:
        """What main returns: parameters, constants, or the values of variables."""

        def resolved(expr: relax.Expr) -> relax.Expr:
            while isinstance(expr, relax.Var) and expr in self.values:
                expr = self.values[expr]
            return expr

        result = resolved(self.result)
        return [resolved(field) for field in (result.fields if isinstance(result, relax.Tuple) else [result])]

    def only_user(self, var: relax.Var) -> relax.Var | None:
        """The one variable that is computed from `var`; None if there are several or main returns it."""
        users = self.users[var]
        if len(users) != 1 or var in set(_free_vars(self.result)):
            return None
        return users[0]

    def call_of(self, var: relax.Expr, *operators: str) -> relax.Call | None:
        """The call bound to `var` if it calls one of these stock operators (all operators when none is named)."""
        value = self.values.get(var) if isinstance(var, relax.Var) else None
        if not isinstance(value, relax.Call) or not isinstance(value.op, tvm.ir.Op):
            return None
        return value if not operators or value.op.name in operators else None

    def layer_of(self, var: relax.Var):
        """(operator name, spec, call) if `var` is bound to a call of a layer or a gate, else None."""
        found = self.operator_of(var)
        return found if found and found[0] in LAYERS else None

    def operator_of(self, var: relax.Var):
        """(operator name, spec, call) if `var` is bound to a call of any Espalier operator, else None."""
        value = self.values.get(var)
        if not isinstance(value, relax.Call) or not isinstance(value.op, tvm.ir.GlobalVar):
            return None
        operator = operator_of(self.mod[value.op])
        return operator and (*operator, value)


def argument(spec, call: relax.Call, role: str) -> relax.Expr | None:
    """The argument of an operator's call that plays this role; None if the operator has none such."""
    return call.args[spec.roles.index(role)] if role in spec.roles else None


def constant(expr: relax.Expr) -> np.ndarray | None:
    """The numpy value of a constant expression, else None."""
    return expr.value.numpy() if isinstance(expr, tvm.ir.GenericConst) else None


def shape_of(expr: relax.Expr) -> tuple[int, ...]:
    """The static shape of a tensor expression."""
    return tuple(int(dim) for dim in expr.ty.shape)


def _free_vars(expr: relax.Expr) -> list[relax.Var]:
    return list(relax.analysis.free_vars(expr))


def dtype_of(expr: relax.Expr) -> str:
    """The element type of a tensor expression, as numpy names it."""
    return str(expr.ty.dtype)
