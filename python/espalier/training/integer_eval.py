"""The integer program of a network, computed by torch for whole batches: exactly what the compiled one gives.

The program is the module that `build` generates code from, so scales, codes and multipliers are the compiler's own;
`layer_operators` has the arithmetic of `core.integer` on tensors. Sums of products are exact: float32 where no partial
sum can reach 2^24, float64 elsewhere, whose 2^53 no int32 sum reaches. Layers that stay in float32 are computed in
float32, and may differ from the compiled ones in the last digits.
"""

from __future__ import annotations

import torch
import tvm
from tvm import relax

from ..build import planned
from ..core.calibration import Calibration
from ..core.plan import Plan
from ..ir.dataflow import Dataflow, constant
from .exporting import export
from .layer_operators import OPERATORS
from .stock_operators import stock


class IntegerNetwork:
    """A module under a plan and a calibration as a function of a tensor [N, ...], for any N.

    Raises what `build` does, and UnsupportedOpError for an operator that torch is not told how to compute.
    """

    def __init__(self, mod: tvm.IRModule, plan: Plan, calibration: Calibration):
        self.flow = Dataflow.of(planned(mod, plan, calibration))
        self.operators = {var: self.flow.operator_of(var) for var in self.flow.values}
        self.dead = _last_reads(self.flow)

    @staticmethod
    def of(model, example: torch.Tensor) -> IntegerNetwork:
        """The program of a network from `insert_quantizers`, as it is now."""
        return IntegerNetwork(*export(model, example))

    @torch.no_grad()
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The (first) output for x float32 [N, ...], on its device."""
        known = {self.flow.mod["main"].params[0]: x.float()}
        with torch.backends.nnpack.flags(enabled=False):  # its 3x3 convolutions are Winograd's, which are not exact
            for var, value in self.flow.values.items():
                known[var] = self._value(var, value, known, x.device)
                for read in self.dead[var]:
                    known.pop(read, None)
        result = _look_up(self.flow.result, known, x.device)
        return result[0] if isinstance(result, tuple) else result

    def _value(self, var: relax.Var, value: relax.Expr, known: dict, device: torch.device):
        if not isinstance(value, relax.Call):
            return _look_up(value, known, device)
        given = [_look_up(one, known, device) for one in value.args]
        if self.operators[var] is None:
            return stock(value, given)
        name, spec, _ = self.operators[var]
        return OPERATORS[name](spec, dict(zip(spec.roles, given)))


def _look_up(expr: relax.Expr, known: dict, device: torch.device):
    """The value of an expression; what is neither a tensor nor a tuple of them stays an expression."""
    if isinstance(expr, relax.Tuple) and all(isinstance(one.ty, relax.TensorType) for one in expr.fields):
        return tuple(_look_up(one, known, device) for one in expr.fields)
    if isinstance(expr, relax.TupleGetItem):
        return _look_up(expr.tuple_value, known, device)[expr.index]
    if isinstance(expr, relax.Var):
        return known[expr]
    array = constant(expr)
    return expr if array is None else torch.from_numpy(array.copy()).to(device)


def _last_reads(flow: Dataflow) -> dict[relax.Var, list[relax.Var]]:
    """For each variable those that nobody reads after it was computed."""
    dead: dict[relax.Var, list[relax.Var]] = {var: [] for var in flow.values}
    kept = set(relax.analysis.free_vars(flow.result))
    for var, users in flow.users.items():
        if var not in kept:
            dead[users[-1] if users else var].append(var)
    return dead
