"""Espalier operators and what lies between them become kernels on stored layouts."""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core import ir_names
from espalier.ir.dataflow import argument, constant, shape_of
from espalier.ir.rewriting import BindingRewriter, with_remarks
from espalier.targets.cpu import Isa

from .choose_kernels import choose_kernels, convolutions_of, problem_of
from .kernels.bfloat16 import multiplies_pairs, obstacle
from .kernels.channel_gate import channel_gate
from .kernels.dense import dense, pack_dense_pairs, pack_dense_weight
from .kernels.glue import change_layout
from .kernels.lists import whole_blocks
from .layout import PLAIN, Layout
from .lower_stock import StockKernels
from .timed_families import KnownTimes, TimedFamilies


@tvm.transform.module_pass(opt_level=0, name="LowerOnCpu")
class LowerOnCpu:
    """Calls of Espalier operators become calls of kernels; tensors stay in the kernels' layouts between them.

    Kernels are chosen for the whole network (`choose_kernels`). Each writes the layout of its family with the halo
    that its readers need, so that most networks change layout only at their input and output.
    """

    def __init__(self, isa: Isa, known: KnownTimes | None = None):
        self.isa, self.known = isa, known

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main."""
        lowerer = _CpuLowerer(mod)
        lowerer.configure(self.isa, self.known)
        lowered = lowerer.run()
        return with_remarks(lowered, lowered, [*lowerer.remarks_on_rounding(), *lowerer.remarks_on_times])


@mutator
class _CpuLowerer(BindingRewriter):
    def configure(self, isa: Isa, known: KnownTimes | None = None) -> None:
        self.isa = isa
        self.stored: dict[relax.Var, dict[Layout, relax.Expr]] = {}
        self.stock = StockKernels(self)
        self.coarser: dict[tuple[str, float], list[str]] = {}
        times = known and TimedFamilies(known, convolutions_of(self.flow).values())
        self.choices = choose_kernels(self.flow, isa, times.families if times else None)
        self.remarks_on_times = times.remarks(self.flow, self.choices) if times else []
        self.halos = {}
        for var in self.flow.values:
            layer = self.flow.layer_of(var)
            if layer and layer[0] == ir_names.CONV2D:
                source = layer[2].args[0]
                self.halos[source] = max(self.halos.get(source, 0), *layer[1].padding)

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        var, layer = binding.var, self.flow.layer_of(binding.var)
        lower = (
            layer
            and {
                ir_names.CONV2D: self._conv2d,
                ir_names.DENSE: self._dense,
                ir_names.CHANNEL_GATE: self._channel_gate,
            }[layer[0]]
        )
        if lower:
            lower(var, layer[1], layer[2])
        elif not self.stock.lower(var, self.flow.call_of(var)):
            for used in relax.analysis.free_vars(binding.value):
                self.plain(used)
            super().visit_var_binding_(binding)
        if not isinstance(var, relax.DataflowVar) and var in self.stored:
            self.bind(var, self.plain(var))

    def remarks_on_rounding(self) -> list[str]:
        """Which layers' sums are rounded more coarsely than direct ones."""
        return [
            f"{', '.join(layers)}: computed by {name}, rounding errors up to about {growth:g} times those of direct "
            "sums (winograd: false refuses it)"
            for (name, growth), layers in sorted(self.coarser.items())
        ]

    def halo_for(self, var: relax.Var) -> int:
        """The margin that the readers of a tensor need."""
        return self.halos.get(var, 0)

    def store(self, var: relax.Var, layout: Layout, value: relax.Expr) -> relax.Expr:
        """Emit `value` and remember that it is `var` in this layout."""
        fresh = self.builder_.emit(value, var.name)
        self.stored.setdefault(var, {})[layout] = fresh
        if layout == PLAIN:
            self.set_var_remap(var, fresh)
        return fresh

    def plain(self, var: relax.Var) -> relax.Expr:
        """The variable as an ordinary NCHW tensor."""
        if var not in self.stored:
            return self.visit_expr(var)
        return self._in_layout(var, PLAIN)

    def given(
        self, var: relax.Var, blocks: tuple[int, ...], halo: int = 0, dtype: str = "float32"
    ) -> tuple[relax.Expr, Layout]:
        """The tensor in a layout with one of these blocks, at least this halo and this type; converted if need be.

        Only a reader that rounds what it reads may ask for "bfloat16" where `stored_dtype` is another.
        """
        known = self.stored.get(var, {PLAIN: None})
        for layout in sorted(known, key=lambda layout: layout.halo):
            if layout.block in blocks and layout.halo >= halo and layout.dtype == dtype:
                return self._in_layout(var, layout), layout
        readable = [layout.block for layout in known if layout.block in blocks]
        layout = Layout(readable[0] if readable else blocks[0], max(halo, self.halo_for(var)), dtype)
        return self._in_layout(var, layout), layout

    def stored_dtype(self, var: relax.Var) -> str:
        """The type in which the tensor was written: the one that holds its values exactly."""
        return next(iter(self.stored.get(var, {PLAIN: None}))).dtype

    def kernel_call(self, function, name: str, arguments: list, out_types) -> relax.Call:
        """A call of a kernel that is added to the module."""
        return relax.call_tir(self.builder_.add_func(function, name), arguments, out_types)

    def _in_layout(self, var: relax.Var, layout: Layout) -> relax.Expr:
        known = self.stored.get(var)
        if known is None:
            if layout == PLAIN:
                return self.visit_expr(var)
            known = self.stored[var] = {PLAIN: self.visit_expr(var)}
        if layout not in known:
            source = next(iter(known))
            shape = shape_of(var)
            function = change_layout(shape, source, layout)
            self.store(
                var,
                layout,
                self.kernel_call(function, "change_layout", [known[source]], stored_type(shape, layout)),
            )
        return known[layout]

    def _conv2d(self, var: relax.Var, spec, call: relax.Call) -> None:
        x, weight = call.args[:2]
        problem, family = problem_of(self.flow, var), self.choices[var].family
        self._remark_on_format(spec)
        stored_x, x_layout = self.given(x, (self.choices[var].x_block,), problem.halo_needed, spec.format)
        out_layout, residual_layout = Layout(family.out_block, self.halo_for(var), spec.out_format), None
        arguments = []
        for role, expr in zip(spec.roles, call.args):
            if role == "x":
                arguments.append(stored_x)
            elif role == "weight":
                arguments.append(relax.const(family.pack_weight(constant(weight), x_layout.block)))
            elif role == "bias":
                arguments.append(relax.const(family.pack_bias(constant(expr))))
            elif role == "residual":
                stored, residual_layout = self.given(expr, (family.out_block,), dtype=self.stored_dtype(expr))
                arguments.append(stored)
            else:
                arguments.append(self.visit_expr(expr))
        if family.error_growth > 1:
            self.coarser.setdefault((family.name, family.error_growth), []).append(spec.name)
        function = family.build(x_layout, out_layout, residual_layout, self._zeros_are_read(var))
        out = stored_type(problem.out_shape, out_layout)
        self.store(var, out_layout, self.kernel_call(function, f"{family.name}_{spec.name}", arguments, out))

    def _remark_on_format(self, spec) -> None:
        """Say why bfloat16 values are not multiplied as such: once for the target, or for each layer."""
        reason = obstacle(spec, self.isa) if spec.format == "bfloat16" else None
        where = f"{spec.name}: " if self.isa.bfloat16 else ""
        remark = f"{where}float32 arithmetic on bfloat16 values: {reason}"
        if reason and remark not in self.remarks:
            self.remarks.append(remark)

    def _zeros_are_read(self, var: relax.Var) -> bool:
        """Whether some reader of a gated tensor reads more than the listed channels."""
        if var in relax.analysis.free_vars(self.flow.result):
            return True
        for user in self.flow.users[var]:
            layer = self.flow.layer_of(user)
            if not layer or "active" not in layer[1].roles or var == argument(layer[1], layer[2], "residual"):
                return True
        return False

    def _dense(self, var: relax.Var, spec, call: relax.Call) -> None:
        weight = constant(argument(spec, call, "weight"))
        pack = pack_dense_pairs if multiplies_pairs(spec, self.isa) else pack_dense_weight
        self._remark_on_format(spec)
        packed = {
            "weight": lambda _expr: relax.const(pack(weight, self.isa.lanes)),
            "bias": lambda expr: relax.const(whole_blocks(constant(expr), self.isa.lanes)),
            "x": self.plain,
        }
        arguments = [packed.get(role, self.visit_expr)(expr) for role, expr in zip(spec.roles, call.args)]
        function = dense(spec, shape_of(call.args[0]), weight.shape[0], self.isa)
        self.bind(var, self.kernel_call(function, f"dense_{spec.name}", arguments, tensor_type(shape_of(var))))

    def _channel_gate(self, var: relax.Var, spec, call: relax.Call) -> None:
        x, phi = call.args[:2]
        stored_x, x_layout = self.given(x, (self.isa.lanes, 1), dtype=self.stored_dtype(x))
        shape, channels = shape_of(x), shape_of(phi)[1]
        packed = {
            "x": lambda _expr: stored_x,
            "phi": lambda expr: relax.const(whole_blocks(constant(expr), self.isa.lanes)),
            "rho": lambda expr: relax.const(whole_blocks(constant(expr), self.isa.lanes)),
        }
        arguments = [packed.get(role, self.visit_expr)(expr) for role, expr in zip(spec.roles, call.args)]
        function = channel_gate(spec, shape, channels, self.isa, x_layout)
        results = [tensor_type((shape[0], channels)), tensor_type((shape[0], spec.kept), "int32")]
        self.bind(var, self.kernel_call(function, f"gate_{spec.name}", arguments, results))


def tensor_type(shape, dtype: str = "float32") -> relax.TensorType:
    return relax.TensorType(tuple(int(dim) for dim in shape), dtype)


def stored_type(shape, layout: Layout) -> relax.TensorType:
    """The type of a tensor of logical `shape` in this layout."""
    return tensor_type(layout.physical(shape), layout.element)
