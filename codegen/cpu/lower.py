"""Espalier operators and what lies between them become kernels on stored layouts."""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core import ir_names
from espalier.ir.dataflow import argument, constant, dtype_of, shape_of
from espalier.ir.rewriting import BindingRewriter, with_remarks
from espalier.targets.cpu import Isa

from .choose_kernels import choose_kernels, constants_of, convolutions_of, problem_of
from .kernels.bfloat16 import multiplies_pairs, obstacle
from .kernels.channel_gate import channel_gate
from .kernels.channel_gate_int8 import channel_gate_int8, pack_gate
from .kernels.dense import dense, pack_dense_pairs, pack_dense_weight
from .kernels.dense_int8 import dense_int8, pack_dense_quads
from .kernels.glue import change_layout
from .kernels.int8 import QUAD, as_kernels_take_it
from .kernels.integer_glue import mask_of
from .kernels.lists import whole_blocks
from .kernels.packed_codes import codes_of
from .kernels.requantize import packed_constants, rounding_of
from .layout import PLAIN, PLAIN_BYTES, Layout
from .lower_quantization import QuantizationKernels
from .lower_stock import StockKernels
from .surroundings import halos_of, zeros_are_read
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
        self.stock, self.between = StockKernels(self), QuantizationKernels(self)
        self.coarser: dict[tuple[str, float], list[str]] = {}
        times = known and TimedFamilies(known, convolutions_of(self.flow, isa).values())
        self.choices = choose_kernels(self.flow, isa, times.families if times else None)
        self.remarks_on_times = times.remarks(self.flow, self.choices) if times else []
        self.halos, self.fills, self.readers = halos_of(self.flow), {}, {}
        for var in self.flow.values:
            layer = self.flow.layer_of(var)
            if layer and layer[0] == ir_names.CONV2D:
                source, spec = layer[2].args[0], layer[1]
                self.fills.setdefault(source, spec.integer.x_zero if spec.integer else 0)
                self.readers.setdefault(source, self.choices[var])

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        var, operator = binding.var, self.flow.operator_of(binding.var)
        lower = {
            ir_names.CONV2D: self._conv2d,
            ir_names.DENSE: self._dense,
            ir_names.CHANNEL_GATE: self._channel_gate,
            **self.between.handlers(),
        }
        if operator:
            lower[operator[0]](var, operator[1], operator[2])
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

    def layout_for(self, var: relax.Var, block: int, dtype: str) -> Layout:
        """In blocks of this size, with the margin that the readers of a tensor need."""
        return Layout(block, self.halos.get(var, 0), dtype, self.fills.get(var, 0))

    def block_read(self, var: relax.Var) -> int:
        """The block in which the first convolution that reads a tensor wants it; 1 if there is none."""
        return self.readers[var].x_block if var in self.readers else 1

    def store(self, var: relax.Var, layout: Layout, value: relax.Expr) -> relax.Expr:
        """Emit `value` and remember that it is `var` in this layout."""
        fresh = self.builder_.emit(value, var.name)
        self.stored.setdefault(var, {})[layout] = fresh
        if layout == plain_layout(var):
            self.set_var_remap(var, fresh)
        return fresh

    def plain(self, var: relax.Var) -> relax.Expr:
        """The variable as an ordinary NCHW tensor."""
        if var not in self.stored:
            return self.visit_expr(var)
        return self._in_layout(var, plain_layout(var))

    def given(
        self, var: relax.Var, blocks: tuple[int, ...], halo: int = 0, dtype: str = "float32", fill: int = 0
    ) -> tuple[relax.Expr, Layout]:
        """The tensor in a layout with one of these blocks, at least this halo and this type; converted if need be.

        fill: of the halo if one is asked for.
        Only a reader that rounds what it reads may ask for "bfloat16" where `stored_dtype` is another.
        """
        known = self.stored.get(var, {plain_layout(var): None})
        for layout in sorted(known, key=lambda layout: layout.halo):
            fits = layout.block in blocks and layout.halo >= halo and layout.dtype == dtype
            if fits and (not halo or layout.fill == fill):
                return self._in_layout(var, layout), layout
        readable = [layout.block for layout in known if layout.block in blocks]
        layout = Layout(readable[0] if readable else blocks[0], max(halo, self.halos.get(var, 0)), dtype, fill)
        return self._in_layout(var, layout), layout

    def stored_dtype(self, var: relax.Var) -> str:
        """The type in which the tensor was written: the one that holds its values exactly."""
        return next(iter(self.stored.get(var, {plain_layout(var): None}))).dtype

    def kernel_call(self, function, name: str, arguments: list, out_types) -> relax.Call:
        """A call of a kernel that is added to the module."""
        return relax.call_tir(self.builder_.add_func(function, name), arguments, out_types)

    def _in_layout(self, var: relax.Var, layout: Layout) -> relax.Expr:
        known = self.stored.get(var)
        if known is None:
            if layout == plain_layout(var):
                return self.visit_expr(var)
            known = self.stored[var] = {plain_layout(var): self.visit_expr(var)}
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
        problem, family = problem_of(self.flow, var, self.isa), self.choices[var].family
        self._remark_on_format(spec)
        self._remark_on_lists(spec)
        x_type = "uint8" if spec.format == "int8" else spec.format
        fill = spec.integer.x_zero if spec.integer else 0
        x, x_layout = self.given(call.args[0], (self.choices[var].x_block,), problem.halo_needed, x_type, fill)
        out_layout, residual_layout = self.layout_for(var, family.out_block, spec.out_format), None
        packed = family.pack(constants_of(spec, call), x_layout.block)
        arguments = {"x": x, **{role: relax.const(array) for role, array in packed.items()}}
        if "residual" in spec.roles:
            residual = argument(spec, call, "residual")
            stored = self.given(residual, (family.out_block,), dtype=self.stored_dtype(residual))
            arguments["residual"], residual_layout = stored
        arguments |= self._mask(spec, family.spec, call, problem.channels_out)
        if family.error_growth > 1:
            self.coarser.setdefault((family.name, family.error_growth), []).append(spec.name)
        function = family.build(x_layout, out_layout, residual_layout, zeros_are_read(self.flow, var, self.isa))
        out = stored_type(problem.out_shape, out_layout)
        given = [self._argument(role, arguments, spec, call) for role in family.spec.roles]
        self.store(var, out_layout, self.kernel_call(function, f"{family.name}_{spec.name}", given, out))

    def _argument(self, role: str, known: dict, spec, call: relax.Call) -> relax.Expr:
        """What a kernel gets for a role: what is known for it, or what the operator got."""
        return known[role] if role in known else self.visit_expr(argument(spec, call, role))

    def _mask(self, spec, taken, call: relax.Call, channels: int) -> dict[str, relax.Expr]:
        """uint8 [N, C_out], 1 for the channels that win, under the role in which the kernel takes it, if it does."""
        roles = ({"pi", "mask"} & set(taken.roles)) - set(spec.roles)
        if not roles:
            return {}
        batch, winners = shape_of(call.args[0])[0], argument(spec, call, "winners")
        function = mask_of(spec.winners.granularity, spec.winners.count, channels, batch)
        out = tensor_type((batch, channels), "uint8")
        return {roles.pop(): self.builder_.emit(self.kernel_call(function, "mask", [self.visit_expr(winners)], out))}

    def _remark_on_format(self, spec) -> None:
        """Say why bfloat16 values are not multiplied as such: once for the target, or for each layer."""
        reason = obstacle(spec, self.isa) if spec.format == "bfloat16" else None
        where = f"{spec.name}: " if self.isa.bfloat16 else ""
        remark = f"{where}float32 arithmetic on bfloat16 values: {reason}"
        if reason and remark not in self.remarks:
            self.remarks.append(remark)

    def _remark_on_lists(self, spec) -> None:
        """Say which channels of a quantized layer are computed although a gate lists others."""
        if spec.integer is None:
            return
        taken = as_kernels_take_it(spec, self.isa)
        for side, listed, followed, least in (
            ("output", spec.winners, taken.winners, self.isa.lanes),
            ("input", spec.active, taken.active, QUAD),
        ):
            if listed and not followed:
                self.remarks.append(
                    f"{spec.name}: computes all its {side} channels: granularity {listed.granularity} is no multiple "
                    f"of {least}"
                )

    def _dense(self, var: relax.Var, spec, call: relax.Call) -> None:
        if spec.integer is not None:
            self._dense_of_bytes(var, spec, call)
            return
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

    def _dense_of_bytes(self, var: relax.Var, spec, call: relax.Call) -> None:
        constants, lanes, shape = constants_of(spec, call), self.isa.lanes, shape_of(var)
        self._remark_on_lists(spec)
        rounding, taken = rounding_of(spec, constants, self.isa), as_kernels_take_it(spec, self.isa)
        codes = codes_of(constants["weight"], self.isa, taken.active and taken.active.granularity)
        packed = packed_constants(spec, constants, lanes, rounding)
        packed["weight"] = pack_dense_quads(constants["weight"], lanes, codes)
        arguments = {role: relax.const(array) for role, array in packed.items()}
        arguments |= {role: self.plain(argument(spec, call, role)) for role in {"x", "residual"} & set(spec.roles)}
        arguments |= self._mask(spec, taken, call, shape[1])
        given = [self._argument(role, arguments, spec, call) for role in taken.roles]
        table = [relax.const(codes.table(constants["weight"]))] if codes else []
        function = dense_int8(taken, shape_of(call.args[0]), shape[1], self.isa, rounding, codes)
        out = tensor_type(shape, spec.out_format)
        self.bind(var, self.kernel_call(function, f"dense_int8_{spec.name}", [*given, *table], out))

    def _channel_gate(self, var: relax.Var, spec, call: relax.Call) -> None:
        x, phi = call.args[:2]
        stored_x, x_layout = self.given(x, (self.isa.lanes, 1), dtype=self.stored_dtype(x))
        shape, channels, lanes, is_real = shape_of(x), shape_of(phi)[1], self.isa.lanes, spec.integer is None
        phi, rho = (constant(argument(spec, call, role)) for role in ("phi", "rho"))
        packed = {"phi": whole_blocks(phi, lanes), "rho": whole_blocks(rho, lanes)}
        packed = packed if is_real else pack_gate(spec, phi, rho, lanes)
        packed = {"x": stored_x, **{role: relax.const(array) for role, array in packed.items()}}
        arguments = [self._argument(role, packed, spec, call) for role in spec.roles]
        function = (channel_gate if is_real else channel_gate_int8)(spec, shape, channels, self.isa, x_layout)
        pi = tensor_type((shape[0], channels), "float32" if is_real else "uint8")
        results = [pi, tensor_type((shape[0], spec.kept), "int32")]
        self.bind(var, self.kernel_call(function, f"gate_{spec.name}", arguments, results))


def tensor_type(shape, dtype: str = "float32") -> relax.TensorType:
    return relax.TensorType(tuple(int(dim) for dim in shape), dtype)


def plain_layout(var: relax.Var) -> Layout:
    """How the tensor lies where nothing was stored."""
    return PLAIN_BYTES if dtype_of(var) == "uint8" else PLAIN


def stored_type(shape, layout: Layout) -> relax.TensorType:
    """The type of a tensor of logical `shape` in this layout."""
    return tensor_type(layout.physical(shape), layout.element)
