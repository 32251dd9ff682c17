"""Layers and gates that have a kernel of ours become calls of it."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
from tvm import relax

from espalier.core import ir_names
from espalier.core.layers import ChannelGateSpec, Conv2dSpec, DenseSpec, LayerSpec
from espalier.ir.dataflow import Dataflow, argument, constant, shape_of

from .kernel_launches import launch_of, launch_of_codebook, launch_of_depthwise, launch_of_gate
from .kernel_objects import Variant
from .kernels import channel_gate, conv2d, dense_codebook, depthwise
from .kernels.choose_schedule import choose_schedule
from .launches import KernelLaunch
from .layout import GROUP, Layout, whole_groups


@dataclasses.dataclass
class Emitted:
    """What a lowering leaves behind besides the module: the kernels to compile, and their launches in program order."""

    variants: dict[str, Variant] = dataclasses.field(default_factory=dict)
    launches: list[KernelLaunch] = dataclasses.field(default_factory=list)


class LayerKernels:
    """Lowers one layer or gate at a time.

    lowering: the pass at work; it knows which tensor is stored how. bodies: layers that keep their body, by the reason.
    """

    def __init__(self, lowering, gpu, emitted: Emitted):
        self.lowering, self.gpu, self.emitted = lowering, gpu, emitted
        self.bodies: dict[str, list[str]] = {}

    def lower(self, var: relax.Var, operator: str, spec, call: relax.Call) -> bool:
        """Lower the call bound to `var`; False if it keeps its body."""
        reason = obstacle(operator, spec, call)
        if reason:
            self.bodies.setdefault(reason, []).append(spec.name)
            return False
        if operator == ir_names.CHANNEL_GATE:
            self._gate(var, spec, call)
        elif spec.integer is not None:
            self._codebook(var, spec, call)
        elif depthwise.fits(spec, shape_of(argument(spec, call, "weight"))):
            self._depthwise(var, spec, call)
        else:
            self._conv2d(var, spec, call)
        return True

    def _conv2d(self, var: relax.Var, spec: LayerSpec, call: relax.Call) -> None:
        weight, y_dtype = constant(argument(spec, call, "weight")), out_dtype(spec)
        problem = problem_of(var, spec, call)
        schedule = choose_schedule(problem, self.gpu)
        lists = [role for role in ("winners", "active") if getattr(problem, role)]
        tensors, residual_dtype = self._tensors(spec, call, problem.numbers.element, lists)
        tensors["weight"] = relax.const(conv2d.pack_weight(weight, spec.format))
        fill = problem.winners is not None and self._resting_are_read(var)
        given = list(tensors)[2:]
        numbers = conv2d.call_numbers(spec, problem, schedule, given, y_dtype, residual_dtype, fill)
        counters, partial = conv2d.scratch_shapes(problem, schedule)
        outs = [(Layout(y_dtype).physical(shape_of(var)), y_dtype), *([((partial,), "float32")] if counters else [])]
        arguments = [*tensors.values(), *([self._shared_counters] if counters else [])]
        launch = launch_of(spec, problem, schedule, y_dtype, self.gpu)
        results = self._call(schedule.tile.variant(spec.format), launch, numbers, arguments, outs)
        self.lowering.store(var, Layout(y_dtype), results[0])

    def _depthwise(self, var: relax.Var, spec: Conv2dSpec, call: relax.Call) -> None:
        weight, y_dtype = constant(argument(spec, call, "weight")), out_dtype(spec)
        lists = ["winners"] if conv2d.followed(spec.winners, GROUP) else []
        tensors, residual_dtype = self._tensors(spec, call, depthwise.ELEMENTS[spec.format], lists)
        tensors["weight"] = relax.const(depthwise.pack_depthwise(weight, spec.format))
        x_shape, out_shape = shape_of(argument(spec, call, "x")), shape_of(var)
        fill, given = bool(lists) and self._resting_are_read(var), list(tensors)[2:]
        shapes = (x_shape, weight.shape, out_shape)
        numbers = depthwise.depthwise_numbers(spec, *shapes, given, y_dtype, residual_dtype, fill)
        launch = launch_of_depthwise(spec, x_shape, weight.shape[2] * weight.shape[3], out_shape, y_dtype, self.gpu)
        outs = [(Layout(y_dtype).physical(out_shape), y_dtype)]
        results = self._call(depthwise.VARIANT, launch, numbers, list(tensors.values()), outs)
        self.lowering.store(var, Layout(y_dtype), results[0])

    def _codebook(self, var: relax.Var, spec: DenseSpec, call: relax.Call) -> None:
        """A dense layer of packed codes, on plain tensors."""
        arrays = {role: constant(expr) for role, expr in zip(spec.roles, call.args) if role != "x"}
        x, (batch, channels) = argument(spec, call, "x"), shape_of(var)
        tensors = [self.lowering.plain(x), *map(relax.const, dense_codebook.pack(spec, arrays))]
        numbers = dense_codebook.codebook_numbers(spec, batch, arrays["weight"])
        outs = [((batch, channels), "float32" if "scale" in spec.roles else "uint8")]
        launch = launch_of_codebook(spec, shape_of(x), channels, self.gpu)
        self.lowering.bind(var, self._call(dense_codebook.VARIANT, launch, numbers, tensors, outs)[0])

    def _gate(self, var: relax.Var, spec: ChannelGateSpec, call: relax.Call) -> None:
        x, phi, rho = (argument(spec, call, role) for role in ("x", "phi", "rho"))
        shape, channels = shape_of(x), shape_of(phi)[1]
        parts = channel_gate.gate_parts(self.gpu, shape[0], shape[2] * shape[3])
        value, dtype = self.lowering.stored_as(x) or (self.lowering.given(x, "float32"), "float32")
        numbers = channel_gate.gate_numbers(spec, shape, channels, dtype, parts)
        listed = channel_gate.followed_list(spec)
        active = [self.lowering.visit_expr(argument(spec, call, "active"))] if listed else []
        counters = relax.const(np.zeros((channel_gate.COUNTERS, shape[0]), np.int32))
        packed = relax.const(channel_gate.pack_phi(constant(phi)))
        tensors = [value, packed, self.lowering.visit_expr(rho), *active, counters]
        outs = channel_gate.output_shapes(shape[0], shape[1], channels, spec.kept, parts)
        launch = launch_of_gate(spec, shape, channels, dtype, parts, self.gpu)
        results = self._call(channel_gate.VARIANT, launch, numbers, tensors, outs)
        self.lowering.bind(var, relax.Tuple(results[:2]))

    def _tensors(
        self, spec: LayerSpec, call: relax.Call, element: str, lists: list[str]
    ) -> tuple[dict[str, relax.Expr | None], str]:
        """What a call takes, x and weight (to be set) first, and the residual's element type."""
        values: dict[str, relax.Expr | None] = {"x": self.lowering.given(argument(spec, call, "x"), element)}
        values["weight"], residual_dtype = None, "float32"
        for role in [one for one in ("bias", "residual", "pi") if one in spec.roles] + lists:
            expr = argument(spec, call, role)
            if role == "bias":
                values[role] = relax.const(conv2d.pack_vector(constant(expr)))
            elif role == "residual":
                known = self.lowering.stored_as(expr) or (self.lowering.given(expr, "float32"), "float32")
                values[role], residual_dtype = known
            else:
                values[role] = self.lowering.visit_expr(expr)
        return values, residual_dtype

    def _call(self, variant: Variant, launch: KernelLaunch, numbers, tensors, outs) -> list[relax.Expr]:
        """Emit a call of a kernel; its outputs."""
        self.emitted.variants[variant.name] = variant
        self.emitted.launches.append(launch)
        types = [relax.TensorType(shape, dtype) for shape, dtype in outs]
        arguments = relax.Tuple([*(relax.prim_value(number) for number in numbers), *tensors])
        made = types[0] if len(types) == 1 else types
        value = self.lowering.builder_.emit(
            relax.op.call_dps_packed(variant.name, arguments, out_ty=made), launch.layer
        )
        if len(types) == 1:
            return [value]
        return [self.lowering.builder_.emit(relax.TupleGetItem(value, i)) for i in range(len(types))]

    def _resting_are_read(self, var: relax.Var) -> bool:
        """Whether some reader of a gated tensor reads more than the listed channels."""
        flow = self.lowering.flow
        if var in relax.analysis.free_vars(flow.result):
            return True
        return any(not _follows_list(var, flow.layer_of(user)) for user in flow.users[var])

    @cached_property
    def _shared_counters(self) -> relax.Expr:
        """Zeros that every launch with a split depth counts in and leaves at zero; launches run one after the other."""
        return relax.const(np.zeros(most_counters(self.lowering.flow, self.gpu), np.int32))


def obstacle(operator: str, spec, call: relax.Call) -> str | None:
    """Why a layer or a gate has no kernel of ours, None if it has one."""
    if any(constant(argument(spec, call, role)) is None for role in {"weight", "bias", "phi", "rho"} & set(spec.roles)):
        return "a weight that is computed"
    if operator == ir_names.CHANNEL_GATE:
        return None if spec.integer is None else "integer gate"
    weight = constant(argument(spec, call, "weight"))
    if spec.integer is not None:
        is_packed = isinstance(spec, DenseSpec) and dense_codebook.fits(spec, weight)
        return None if is_packed else "integer arithmetic"
    if depthwise.fits(spec, weight.shape):
        return None
    if spec.format not in conv2d.NUMBERS:
        return f"number format {spec.format}"
    if isinstance(spec, Conv2dSpec) and spec.groups > 1:
        return "grouped convolution"
    listed = conv2d.followed(spec.winners, GROUP)
    if spec.gate != "none" and (weight.shape[0] % GROUP or (spec.gate == "listed" and not listed)):
        return f"gate of granularity {spec.winners.granularity}"
    if whole_groups(weight.shape[1]) // conv2d.NUMBERS[spec.format].chunk > conv2d.MOST_CHUNKS:
        return f"{weight.shape[1]} input channels"
    return None


def out_dtype(spec: LayerSpec) -> str:
    """The element type in which a layer's output is stored."""
    return "float16" if spec.out_format == "float16" else "float32"


def problem_of(var: relax.Var, spec: LayerSpec, call: relax.Call) -> conv2d.Problem:
    """The matrix product of a layer."""
    shapes = (shape_of(argument(spec, call, role)) for role in ("x", "weight"))
    return conv2d.Problem.of(spec, *shapes, shape_of(var))


def most_counters(flow: Dataflow, gpu) -> int:
    """The most counters that a launch of this network needs."""
    most = 1
    for var in flow.values:
        operator, spec, call = flow.layer_of(var) or (ir_names.CHANNEL_GATE, None, None)
        if operator == ir_names.CHANNEL_GATE or obstacle(operator, spec, call) or spec.integer is not None:
            continue
        if not depthwise.fits(spec, shape_of(argument(spec, call, "weight"))):
            problem = problem_of(var, spec, call)
            most = max(most, conv2d.scratch_shapes(problem, choose_schedule(problem, gpu))[0])
    return most


def _follows_list(var: relax.Var, layer) -> bool:
    """Whether a reader reads only the listed channels of `var`."""
    if not layer or obstacle(*layer):
        return False
    operator, spec, call = layer
    if operator == ir_names.CHANNEL_GATE:
        return channel_gate.followed_list(spec) is not None
    if spec.integer is not None or var == argument(spec, call, "residual"):
        return False
    if depthwise.fits(spec, shape_of(argument(spec, call, "weight"))):
        return conv2d.followed(spec.winners, GROUP) is not None
    return conv2d.followed(spec.active, conv2d.NUMBERS[spec.format].chunk) is not None
