"""Espalier operators become calls of CUDA kernels; tensors stay in the kernels' layout between them."""

from __future__ import annotations

import dataclasses

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core import ir_names
from espalier.core.layers import ChannelGateSpec, Conv2dSpec, DenseSpec, LayerSpec
from espalier.ir.dataflow import argument, constant, shape_of
from espalier.ir.rewriting import BindingRewriter, with_remarks
from espalier.targets.gpu import Gpu

from .kernel_objects import Variant
from .kernels import channel_gate, conv2d, dense_codebook
from .kernels.choose_schedule import BLOCK_CLOCKS, choose_schedule, predicted_gate_s, predicted_s
from .launches import KernelLaunch
from .layout import GROUP, Layout, whole_groups
from .lower_stock import StockOperators


@dataclasses.dataclass
class Emitted:
    """What a lowering leaves behind besides the module: the kernels to compile, and their launches in program order."""

    variants: dict[str, Variant] = dataclasses.field(default_factory=dict)
    launches: list[KernelLaunch] = dataclasses.field(default_factory=list)


@tvm.transform.module_pass(opt_level=0, name="LowerOnCuda")
class LowerOnCuda:
    """Calls of Espalier operators become calls of our kernels where there is one; other operators keep their body.

    emitted: filled in while it runs.
    """

    def __init__(self, gpu: Gpu, emitted: Emitted):
        self.gpu, self.emitted = gpu, emitted

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main."""
        lowerer = _CudaLowerer(mod)
        lowerer.configure(self.gpu, self.emitted)
        lowered = lowerer.run()
        return with_remarks(lowered, lowered, lowerer.remarks_on_bodies())


def obstacle(spec: LayerSpec, weight_shape: tuple[int, ...]) -> str | None:
    """Why a layer has no kernel of ours, None if it has one."""
    if spec.integer is not None or spec.format not in conv2d.NUMBERS:
        return f"number format {spec.format}"
    if isinstance(spec, Conv2dSpec) and spec.groups > 1:
        return "grouped convolution"
    listed = conv2d.followed(spec.winners, GROUP)
    if spec.gate != "none" and (weight_shape[0] % GROUP or (spec.gate == "listed" and not listed)):
        return f"gate of granularity {spec.winners.granularity}"
    if whole_groups(weight_shape[1]) // conv2d.NUMBERS[spec.format].chunk > conv2d.MOST_CHUNKS:
        return f"{weight_shape[1]} input channels"
    return None


@mutator
class _CudaLowerer(BindingRewriter):
    def configure(self, gpu: Gpu, emitted: Emitted) -> None:
        self.gpu, self.emitted = gpu, emitted
        self.stored: dict[relax.Var, dict[Layout, relax.Expr]] = {}
        self.plain_values: dict[relax.Var, relax.Expr] = {}
        self.stock = StockOperators(self)
        self.bodies: dict[str, list[str]] = {}
        self.counters = self._shared_counters()

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        var, layer = binding.var, self.flow.layer_of(binding.var)
        lower = self._lower_gate if layer and layer[0] == ir_names.CHANNEL_GATE else self._lower_layer
        if layer and lower(var, layer[1], layer[2]):
            pass
        elif not self.stock.lower(var, self.flow.call_of(var)):
            for used in relax.analysis.free_vars(binding.value):
                self.plain(used)
            super().visit_var_binding_(binding)
        if not isinstance(var, relax.DataflowVar) and var in self.stored:
            self.bind(var, self.plain(var))

    def remarks_on_bodies(self) -> list[str]:
        """Which layers run as TVM schedules them, and why."""
        return [f"{', '.join(names)}: no CUDA kernel of ours ({reason})" for reason, names in self.bodies.items()]

    def store(self, var: relax.Var, layout: Layout, value: relax.Expr) -> relax.Expr:
        """Emit `value` and remember that it is `var` in this layout."""
        fresh = self.builder_.emit(value, var.name)
        self.stored.setdefault(var, {})[layout] = fresh
        return fresh

    def plain(self, var: relax.Var) -> relax.Expr:
        """The variable as an ordinary NCHW tensor of float32."""
        if var not in self.stored:
            return self.visit_expr(var)
        known = self.plain_values.get(var)
        if known is None:
            layout, value = next(iter(self.stored[var].items()))
            shape = shape_of(var)
            value = relax.op.astype(value, "float32") if layout.dtype != "float32" else value
            value = relax.op.permute_dims(value, [0, 3, 1, 2])
            if shape[1] != whole_groups(shape[1]):
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
                added = whole_groups(shape[1]) - shape[1]
                value = relax.op.nn.pad(value, [0, 0, 0, added, 0, 0, 0, 0]) if added else value
                value = relax.op.permute_dims(value, [0, 2, 3, 1])
                value = relax.op.astype(value, dtype) if dtype != "float32" else value
            self.store(var, layout, value)
        return known[layout]

    def stored_as(self, var: relax.Expr) -> tuple[relax.Expr, str] | None:
        """A stored tensor and its element type, None if it lies plain only."""
        known = self.stored.get(var) if isinstance(var, relax.Var) else None
        if not known:
            return None
        layout, value = next(iter(known.items()))
        return value, layout.dtype

    def _lower_layer(self, var: relax.Var, spec: LayerSpec, call: relax.Call) -> bool:
        weight = constant(argument(spec, call, "weight"))
        if weight is not None and isinstance(spec, DenseSpec) and dense_codebook.fits(spec, weight):
            return self._lower_codebook(var, spec, call)
        reason = "a weight that is computed" if weight is None else obstacle(spec, weight.shape)
        if reason:
            self.bodies.setdefault(reason, []).append(spec.name)
            return False
        x = argument(spec, call, "x")
        problem = conv2d.Problem.of(spec, shape_of(x), weight.shape, shape_of(var))
        schedule = choose_schedule(problem, self.gpu)
        y_dtype = "float16" if spec.out_format == "float16" else "float32"
        tensors = {
            "x": self.given(x, problem.numbers.element),
            "weight": relax.const(conv2d.pack_weight(weight, spec.format)),
        }
        residual, residual_dtype = self._residual(spec, call)
        given = [role for role in ("bias", "residual", "pi") if role in spec.roles]
        given += [role for role in ("winners", "active") if getattr(problem, role)]
        for role in given:
            expr = argument(spec, call, role)
            if role == "bias" and constant(expr) is None:
                self.bodies.setdefault("a bias that is computed", []).append(spec.name)
                return False
            values = {"bias": lambda e: relax.const(conv2d.pack_vector(constant(e))), "residual": lambda _e: residual}
            tensors[role] = values.get(role, self.visit_expr)(expr)
        fill = problem.winners is not None and self._resting_are_read(var, spec)
        numbers = conv2d.call_numbers(spec, problem, schedule, given, y_dtype, residual_dtype, fill)
        layout = Layout(y_dtype)
        value = self._kernel_call(spec, problem, schedule, numbers, tensors, layout.physical(shape_of(var)), y_dtype)
        self.store(var, layout, value)
        return True

    def _lower_codebook(self, var: relax.Var, spec: DenseSpec, call: relax.Call) -> bool:
        """A dense layer of packed codes, on plain tensors."""
        arrays = {role: constant(expr) for role, expr in zip(spec.roles, call.args) if role != "x"}
        x, (batch, channels), variant = argument(spec, call, "x"), shape_of(var), dense_codebook.VARIANT
        tensors = [self.plain(x), *map(relax.const, dense_codebook.pack(spec, arrays))]
        numbers = dense_codebook.codebook_numbers(spec, batch, arrays["weight"])
        arguments = relax.Tuple([*(relax.prim_value(number) for number in numbers), *tensors])
        out = relax.TensorType((batch, channels), "float32" if "scale" in spec.roles else "uint8")
        self.emitted.variants[variant.name] = variant
        self.emitted.launches.append(launch_of_codebook(spec, shape_of(x), channels, self.gpu))
        self.bind(var, relax.op.call_dps_packed(variant.name, arguments, out_ty=out))
        return True

    def _lower_gate(self, var: relax.Var, spec: ChannelGateSpec, call: relax.Call) -> bool:
        x, phi, rho = (argument(spec, call, role) for role in ("x", "phi", "rho"))
        if spec.integer is not None or constant(phi) is None or constant(rho) is None:
            self.bodies.setdefault("integer gate", []).append(f"{spec.name}'s gate")
            return False
        shape, channels = shape_of(x), shape_of(phi)[1]
        parts = channel_gate.gate_parts(self.gpu, shape[0], shape[2] * shape[3])
        value, dtype = self.stored_as(x) or (self.given(x, "float32"), "float32")
        numbers = channel_gate.gate_numbers(spec, shape, channels, dtype, parts)
        active = [self.visit_expr(argument(spec, call, "active"))] if channel_gate.followed_list(spec) else []
        counters = relax.const(np.zeros((channel_gate.COUNTERS, shape[0]), np.int32))
        tensors = [value, relax.const(channel_gate.pack_phi(constant(phi))), self.visit_expr(rho), *active, counters]
        arguments = relax.Tuple([*(relax.prim_value(number) for number in numbers), *tensors])
        made = channel_gate.output_shapes(shape[0], shape[1], channels, spec.kept, parts)
        outs = [relax.TensorType(out, element) for out, element in made]
        name = channel_gate.VARIANT.name
        results = self.builder_.emit(relax.op.call_dps_packed(name, arguments, out_ty=outs), spec.name)
        self.emitted.variants[name] = channel_gate.VARIANT
        self.emitted.launches.append(launch_of_gate(spec, shape, channels, dtype, parts, self.gpu))
        self.bind(var, relax.Tuple([self.builder_.emit(relax.TupleGetItem(results, i)) for i in range(2)]))
        return True

    def _residual(self, spec: LayerSpec, call: relax.Call) -> tuple[relax.Expr | None, str]:
        expr = argument(spec, call, "residual")
        if expr is None:
            return None, "float32"
        return self.stored_as(expr) or (self.given(expr, "float32"), "float32")

    def _kernel_call(self, spec, problem, schedule, numbers, tensors, y_shape, y_dtype) -> relax.Expr:
        variant = schedule.tile.variant(problem.number_format)
        self.emitted.variants[variant.name] = variant
        self.emitted.launches.append(launch_of(spec, problem, schedule, y_dtype, self.gpu))
        counters, partial = conv2d.scratch_shapes(problem, schedule)
        arguments = [*(relax.prim_value(number) for number in numbers), *tensors.values()]
        outs = [relax.TensorType(y_shape, y_dtype)]
        if not counters:
            return relax.op.call_dps_packed(variant.name, relax.Tuple(arguments), out_ty=outs[0])
        outs.append(relax.TensorType((partial,), "float32"))
        both = relax.op.call_dps_packed(variant.name, relax.Tuple([*arguments, self.counters]), out_ty=outs)
        return relax.TupleGetItem(self.builder_.emit(both, spec.name), 0)

    def _resting_are_read(self, var: relax.Var, spec: LayerSpec) -> bool:
        """Whether some reader of a gated tensor reads more than the listed channels."""
        if var in relax.analysis.free_vars(self.flow.result):
            return True
        for user in self.flow.users[var]:
            layer = self.flow.layer_of(user)
            if layer and layer[0] == ir_names.CHANNEL_GATE:
                if layer[1].integer is not None or not channel_gate.followed_list(layer[1]):
                    return True
                continue
            if not layer or var == argument(layer[1], layer[2], "residual"):
                return True
            weight = constant(argument(layer[1], layer[2], "weight"))
            if weight is None or obstacle(layer[1], weight.shape):
                return True
            if not conv2d.followed(layer[1].active, conv2d.NUMBERS[layer[1].format].chunk):
                return True
        return False

    def _shared_counters(self) -> relax.Expr:
        """Zeros that every launch with a split depth counts in and leaves at zero; launches run one after the other."""
        most = 1
        for var in self.flow.values:
            layer = self.flow.layer_of(var)
            if layer and layer[0] != ir_names.CHANNEL_GATE:
                weight = constant(argument(layer[1], layer[2], "weight"))
                if weight is not None and not obstacle(layer[1], weight.shape):
                    x_shape = shape_of(argument(layer[1], layer[2], "x"))
                    problem = conv2d.Problem.of(layer[1], x_shape, weight.shape, shape_of(var))
                    most = max(most, conv2d.scratch_shapes(problem, choose_schedule(problem, self.gpu))[0])
        return relax.const(np.zeros(most, np.int32))


def launch_of(
    spec: LayerSpec, problem: conv2d.Problem, schedule: conv2d.Schedule, y_dtype: str, gpu: Gpu
) -> KernelLaunch:
    """The launch of a layer's kernel, with the work that it does and the bytes that it cannot avoid."""
    tile, numbers = schedule.tile, problem.numbers
    across, down = problem.tiles(tile)
    batch, _, rows, columns = problem.out_shape
    pixels, (height, width) = batch * rows * columns, problem.x_shape[2:]
    read = problem.read_chunks * numbers.chunk
    macs = pixels * problem.columns * problem.taps[0] * problem.taps[1] * read
    issued = across * down * tile.rows * tile.columns * problem.depth * conv2d.DEPTH_CHUNKS * numbers.chunk
    size = np.dtype(numbers.element).itemsize
    lists = batch if problem.winners or problem.active else 1
    weight_bytes = lists * problem.columns * problem.taps[0] * problem.taps[1] * read * size
    written = pixels * problem.columns * np.dtype(y_dtype).itemsize * (2 if "residual" in spec.roles else 1)
    return KernelLaunch(
        spec.name,
        tile.variant(problem.number_format).name,
        (across, down, schedule.splits),
        tile.threads,
        tile.shared_bytes,
        numbers.instruction,
        macs * numbers.products,
        issued * numbers.products,
        batch * height * width * read * size + weight_bytes + written,
        predicted_s(problem, schedule, gpu),
    )


def launch_of_gate(spec: ChannelGateSpec, shape, channels: int, x_dtype: str, parts: int, gpu: Gpu) -> KernelLaunch:
    """The launch of a gate's kernel."""
    batch, c_in, rows, columns = shape
    active, variant = channel_gate.followed_list(spec), channel_gate.VARIANT
    macs = batch * c_in * channels
    read = batch * rows * columns * (active.channels if active else c_in) * np.dtype(x_dtype).itemsize
    written = 4 * batch * (channels + spec.kept)
    shared = channel_gate.shared_bytes(c_in, channels, spec.granularity)
    return KernelLaunch(
        f"{spec.name}.gate",
        variant.name,
        (parts, batch, 1),
        variant.threads,
        shared,
        "float32",
        macs,
        macs,
        read + 4 * c_in * channels + written,
        predicted_gate_s(read // batch + 4 * c_in * channels, parts, gpu),
    )


def launch_of_codebook(spec: DenseSpec, x_shape, channels: int, gpu: Gpu) -> KernelLaunch:
    """The launch of a dense layer of packed codes; its products are those of dp4a, four in one instruction."""
    (batch, depth), variant = x_shape, dense_codebook.VARIANT
    chunks, macs = dense_codebook.chunks_of(depth), batch * depth * channels
    count = batch * depth + channels * chunks * 16 + batch * channels * (4 if "scale" in spec.roles else 1)
    return KernelLaunch(
        spec.name,
        variant.name,
        (-(-channels // dense_codebook.ROWS_OF_BLOCK), batch, 1),
        variant.threads,
        chunks * dense_codebook.CODES,
        "dp4a",
        macs,
        batch * channels * chunks * dense_codebook.CODES,
        count,
        BLOCK_CLOCKS / gpu.clock_hz + count / gpu.bandwidth_bytes_s,
    )
