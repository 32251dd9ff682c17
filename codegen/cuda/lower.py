"""Espalier operators become calls of CUDA kernels; tensors stay in the kernels' layout between them."""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core import ir_names
from espalier.ir.dataflow import dtype_of, shape_of
from espalier.ir.rewriting import BindingRewriter, with_remarks
from espalier.targets.gpu import Gpu

from .kernels.choose_schedule import choose_schedule
from .kernels.conv2d import Problem, Schedule
from .known_schedules import KnownSchedules
from .layout import Layout
from .lower_layers import Emitted, LayerKernels
from .lower_quantization import QuantizedTensors
from .lower_stock import StockOperators


@tvm.transform.module_pass(opt_level=0, name="LowerOnCuda")
class LowerOnCuda:
    """Calls of Espalier operators become calls of our kernels where there is one; other operators keep their body.

    emitted: filled in while it runs. known: schedules by known times; the analytic rule chooses the others.
    """

    def __init__(self, gpu: Gpu, emitted: Emitted, known: KnownSchedules | None = None):
        self.gpu, self.emitted, self.known = gpu, emitted, known

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main."""
        lowerer = _CudaLowerer(mod)
        lowerer.configure(self.gpu, self.emitted, self.known)
        lowered = lowerer.run()
        remarks = self.known.remarks if self.known else []
        return with_remarks(lowered, lowered, [*lowerer.remarks_on_bodies(), *remarks])


@mutator
class _CudaLowerer(BindingRewriter):
    def configure(self, gpu: Gpu, emitted: Emitted, known: KnownSchedules | None) -> None:
        self.stored: dict[relax.Var, dict[Layout, relax.Expr]] = {}
        self.plain_values: dict[relax.Var, relax.Expr] = {}

        def choose(var: relax.Var, problem: Problem) -> Schedule:
            return (known and known.of(self.flow, var)) or choose_schedule(problem, gpu)

        self.layers = LayerKernels(self, gpu, emitted, choose)
        self.stock, self.between = StockOperators(self), QuantizedTensors(self)

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        var, operator = binding.var, self.flow.operator_of(binding.var)
        if operator:
            kernels = self.layers if operator[0] in ir_names.LAYERS else self.between
            lowered = kernels.lower(var, *operator)
        else:
            lowered = self.stock.lower(var, self.flow.call_of(var))
        if not lowered:
            for used in relax.analysis.free_vars(binding.value):
                self.plain(used)
            super().visit_var_binding_(binding)
        if not isinstance(var, relax.DataflowVar) and var in self.stored:
            self.bind(var, self.plain(var))

    def remarks_on_bodies(self) -> list[str]:
        """Which layers run as TVM schedules them, and why."""
        return [
            f"{', '.join(names)}: no CUDA kernel of ours ({reason})" for reason, names in self.layers.bodies.items()
        ]

    def store(self, var: relax.Var, layout: Layout, value: relax.Expr) -> relax.Expr:
        """Emit `value` and remember that it is `var` in this layout."""
        fresh = self.builder_.emit(value, var.name)
        self.stored.setdefault(var, {})[layout] = fresh
        return fresh

    def plain(self, var: relax.Var) -> relax.Expr:
        """The variable as an ordinary NCHW tensor of float32, or of bytes."""
        if var not in self.stored:
            return self.visit_expr(var)
        known = self.plain_values.get(var)
        if known is None:
            layout, value = next(iter(self.stored[var].items()))
            shape = shape_of(var)
            value = relax.op.astype(value, "float32") if layout.dtype == "float16" else value
            value = relax.op.permute_dims(value, [0, 3, 1, 2])
            if shape[1] != layout.channels(shape[1]):
                value = relax.op.strided_slice(value, axes=[1], begin=[0], end=[shape[1]])
            value = relax.op.reshape(value, shape) if len(shape) == 2 else value
            known = self.builder_.emit(value, var.name)
            self.plain_values[var] = known
            self.set_var_remap(var, known)
        return known

    def given(self, var: relax.Var, dtype: str) -> relax.Expr:
        """The tensor in the kernels' layout with elements of this type; converted if need be."""
        layout, known = Layout(dtype), self.stored.setdefault(var, {})
        if layout not in known:
            if known:
                value = relax.op.astype(next(iter(known.values())), dtype)
            else:
                self.plain_values[var] = value = self.visit_expr(var)
                shape = shape_of(var)
                value = relax.op.reshape(value, (*shape, 1, 1)) if len(shape) == 2 else value
                added = layout.channels(shape[1]) - shape[1]
                value = relax.op.nn.pad(value, [0, 0, 0, added, 0, 0, 0, 0]) if added else value
                value = relax.op.permute_dims(value, [0, 2, 3, 1])
                value = relax.op.astype(value, dtype) if dtype != dtype_of(var) else value
            self.store(var, layout, value)
        return known[layout]

    def stored_as(self, var: relax.Expr) -> tuple[relax.Expr, str] | None:
        """A stored tensor and its element type, None if it lies plain only."""
        known = self.stored.get(var) if isinstance(var, relax.Var) else None
        if not known:
            return None
        layout, value = next(iter(known.items()))
        return value, layout.dtype
