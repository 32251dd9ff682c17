"""Tell each layer which channels of its input can be nonzero."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core import ir_names
from espalier.core.layers import ActiveList, Conv2dSpec
from espalier.ir.dataflow import argument, shape_of
from espalier.ir.operators import channel_gate_function, layer_function
from espalier.ir.rewriting import BindingRewriter

KEEPS_ZEROS = (
    "relax.nn.relu",
    "relax.nn.relu6",
    "relax.nn.leakyrelu",
    "relax.nn.silu",
    "relax.nn.gelu",
    "relax.tanh",
    "relax.nn.max_pool2d",
    "relax.nn.avg_pool2d",
    "relax.nn.adaptive_avg_pool2d",
    "relax.nn.dropout",
)
"""Stock operators that map a channel of zeros to a channel of zeros."""


@dataclass(frozen=True)
class Activity:
    """The variable that holds a list of active groups (new program's), and what the list means."""

    winners: relax.Expr
    active: ActiveList


@tvm.transform.module_pass(opt_level=0, name="PropagateActivity")
class PropagateActivity:
    """Every layer and gate whose input is known to be zero outside a list gets that list as an argument.

    The list follows a gated tensor through operators that keep zeros, through concatenation, and through
    a residual add whose two sides have the same list. Where it is lost the consumer computes densely and
    the report says so.
    """

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main."""
        return _ActivityPropagator(mod).run()


@mutator
class _ActivityPropagator(BindingRewriter):
    def __init__(self, mod: tvm.IRModule):
        super().__init__(mod)
        self.activity: dict[relax.Var, Activity] = {}

    def rewrite(self, var: relax.Var, value: relax.Expr) -> relax.Expr:
        layer = self.flow.layer_of(var)
        if layer:
            return self._layer(var, *layer)
        known = self._through_stock_operator(var)
        if known:
            self.activity[var] = known
        return self.visit_expr(value)

    def _layer(self, var: relax.Var, operator: str, spec, call: relax.Call) -> relax.Call:
        arguments = [self.visit_expr(given) for given in call.args]
        if operator != ir_names.CHANNEL_GATE:
            known = self._after_layer(spec, call, arguments)
            if known:
                self.activity[var] = known
        known = self.activity.get(call.args[0])
        if known is None or "active" in spec.roles or getattr(spec, "groups", 1) > 1:
            return relax.Call(call.op, arguments)
        listed = spec.with_arguments("active", active=known.active)
        arguments.append(known.winners)
        build = channel_gate_function if operator == ir_names.CHANNEL_GATE else layer_function
        return self.call_operator(build(listed, arguments), spec.name, arguments)

    def _after_layer(self, spec, call: relax.Call, arguments: list[relax.Expr]) -> Activity | None:
        """The activity of a layer's output."""
        residual = argument(spec, call, "residual")
        if spec.gate in ("output", "listed"):
            return Activity(arguments[spec.roles.index("winners")], spec.winners)
        if spec.gate == "branch" and residual is None:
            return Activity(arguments[spec.roles.index("winners")], spec.winners)
        if residual is not None and (spec.gate == "branch" or residual in self.activity):
            self._lost(spec.name, "a residual add joins two different lists")
        if isinstance(spec, Conv2dSpec) and spec.groups > 1 and call.args[0] in self.activity:
            self._lost(spec.name, "a grouped convolution does not keep zeros")
        return None

    def _through_stock_operator(self, var: relax.Var) -> Activity | None:
        call = self.flow.call_of(var)
        if call is None:
            return None
        name = call.op.name
        known = self.activity.get(call.args[0]) if isinstance(call.args[0], relax.Var) else None
        if name == "relax.concat":
            return self._through_concat(var, call)
        if name == "relax.add":
            return self._through_add(var, call)
        if known is None:
            return None
        if name in KEEPS_ZEROS or _is_spatial_mean(call) or _is_flatten_of_pixels(call):
            return known
        if name == "relax.clip" and float(call.args[1].value) <= 0 <= float(call.args[2].value):
            return known
        self._lost(var.name, f"{name} may turn zeros into other values")
        return None

    def _through_add(self, var: relax.Var, call: relax.Call) -> Activity | None:
        left, right = (self.activity.get(side) if isinstance(side, relax.Var) else None for side in call.args)
        if left and right and left.winners.same_as(right.winners):
            return left
        if left or right:
            self._lost(var.name, "an add joins two different lists")
        return None

    def _through_concat(self, var: relax.Var, call: relax.Call) -> Activity | None:
        """One list for a concatenation of channels, in the finest granularity among its parts.

        Parts' lists are split to it and moved; a part without a list is listed whole.
        """
        parts = list(call.args[0].fields) if isinstance(call.args[0], relax.Tuple) else []
        known = [self.activity.get(part) for part in parts]
        if not any(known):
            return None
        granularity = min(activity.active.granularity for activity in known if activity)
        if int(call.attrs.axis) != 1 or any(shape_of(part)[1] % granularity for part in parts):
            self._lost(var.name, "a concatenation whose parts have no granularity in common")
            return None
        lists, offset = [], 0
        for part, activity in zip(parts, known):
            groups = shape_of(part)[1] // granularity
            split = activity and self._split_list(activity, granularity)
            lists.append(self._moved_list(part, split, groups, offset))
            offset += groups
        count = sum(shape_of(one)[1] for one in lists)
        winners = self.builder_.emit(relax.op.concat(lists, axis=1), "winners")
        return Activity(winners, ActiveList(count, granularity))

    def _split_list(self, activity: Activity, granularity: int) -> Activity:
        """The same channels listed in finer groups."""
        pieces = activity.active.granularity // granularity
        if pieces == 1:
            return activity
        batch, count = shape_of(activity.winners)
        first = relax.op.multiply(relax.op.expand_dims(activity.winners, 2), relax.const(pieces, "int32"))
        fine = self.builder_.emit(relax.op.add(first, relax.op.arange(pieces, dtype="int32")))
        flat = self.builder_.emit(relax.op.reshape(fine, [batch, count * pieces]))
        return Activity(flat, ActiveList(count * pieces, granularity))

    def _moved_list(self, part: relax.Var, activity: Activity | None, groups: int, offset: int) -> relax.Expr:
        if activity:
            return self.builder_.emit(relax.op.add(activity.winners, relax.const(offset, "int32")))
        numbers = relax.op.arange(offset, offset + groups, dtype="int32")
        whole = self.builder_.emit(relax.op.expand_dims(numbers, 0))
        return self.builder_.emit(relax.op.broadcast_to(whole, [shape_of(part)[0], groups]))

    def _lost(self, where: str, reason: str) -> None:
        self.remarks.append(f"{where}: readers of its output compute densely: {reason}")


def _is_spatial_mean(call: relax.Call) -> bool:
    if call.op.name != "relax.mean" or call.attrs.axis is None:
        return False
    rank = len(shape_of(call.args[0]))
    return sorted(int(axis) % rank for axis in call.attrs.axis) == [2, 3]


def _is_flatten_of_pixels(call: relax.Call) -> bool:
    """A reshape or flatten of [N, C, 1, 1] to [N, C]."""
    if call.op.name not in ("relax.reshape", "relax.flatten", "relax.squeeze", "relax.nn.batch_flatten"):
        return False
    shape = shape_of(call.args[0])
    return len(shape) == 4 and shape[2:] == (1, 1) and shape_of(call)[:2] == shape[:2]
