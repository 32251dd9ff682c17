"""Layers and gates that have a kernel of ours become calls of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
from tvm import relax

from espalier.core import ir_names
from espalier.core.layers import ChannelGateSpec, Conv2dSpec, DenseSpec, LayerSpec
from espalier.ir.dataflow import Dataflow, argument, constant, dtype_of, shape_of
from espalier.targets.gpu import Gpu

from ..integer_bounds import check_scores, check_sums
from .kernel_launches import launch_of, launch_of_codebook, launch_of_depthwise, launch_of_gate, launch_of_sums
from .kernel_objects import Variant
from .kernels import channel_gate, channel_sums, conv2d, dense_codebook, depthwise, epilogue
from .kernels.choose_schedule import choose_schedule, predicted_codebook_s, predicted_s
from .launches import KernelLaunch
from .layout import GROUP, Layout

CONV2D, DEPTHWISE, CODEBOOK = "conv2d", "depthwise", "dense_codebook"


@dataclasses.dataclass
class Emitted:
    """What a lowering leaves behind besides the module: the kernels to compile, and their launches in program order."""

    variants: dict[str, Variant] = dataclasses.field(default_factory=dict)
    launches: list[KernelLaunch] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Arguments:
    """Of a layer's call. tensors: by role, x and weight first. end: the numbers of what follows the products."""

    tensors: Mapping[str, relax.Expr]
    end: list[int | float]

    @property
    def given(self) -> list[str]:
        """The roles besides x and weight."""
        return list(self.tensors)[2:]


class LayerKernels:
    """Lowers one layer or gate at a time.

    lowering: the pass at work; it knows which tensor is stored how. bodies: layers that keep their body, by the reason.
    choose: the schedule of a layer's matrix product, given its variable.
    """

    def __init__(
        self, lowering, gpu: Gpu, emitted: Emitted, choose: Callable[[relax.Var, conv2d.Problem], conv2d.Schedule]
    ):
        self.lowering, self.gpu, self.emitted = lowering, gpu, emitted
        self.bodies: dict[str, list[str]] = {}
        self.sums: dict[relax.Var, relax.Expr] = {}
        self.products = products_of(lowering.flow, gpu)
        self.schedules = {var: choose(var, problem) for var, problem in self.products.items()}

    def lower(self, var: relax.Var, operator: str, spec, call: relax.Call) -> bool:
        """Lower the call bound to `var`; False if it keeps its body."""
        reason = obstacle(operator, spec, call, self.gpu)
        if reason:
            self.bodies.setdefault(reason, []).append(spec.name)
            return False
        if operator == ir_names.CHANNEL_GATE:
            self._gate(var, spec, call)
        else:
            kinds = {CONV2D: self._conv2d, DEPTHWISE: self._depthwise, CODEBOOK: self._codebook}
            kinds[kind_of(spec, call, self.gpu)](var, spec, call)
        return True

    def _conv2d(self, var: relax.Var, spec: LayerSpec, call: relax.Call) -> None:
        y_dtype, problem, schedule = out_dtype(spec), self.products[var], self.schedules[var]
        lists = [role for role in ("winners", "active") if getattr(problem, role)]
        weight = conv2d.pack_weight(constant(argument(spec, call, "weight")), problem.number_format)
        made = self._arguments(var, spec, call, problem.numbers.element, weight, lists, conv2d.outside_of(spec))
        fill = problem.winners is not None and self._resting_are_read(var)
        numbers = conv2d.call_numbers(problem, schedule, made.given, made.end, fill)
        counters, partial = conv2d.scratch_shapes(problem, schedule)
        outs = [(Layout(y_dtype).physical(shape_of(var)), y_dtype)]
        outs += [((partial,), problem.numbers.sum)] if counters else []
        sums = channel_sums.sums_shape(problem.out_shape, problem.tiles_of_sample(schedule.tile))
        outs += [(sums, problem.numbers.sum)] if problem.sums else []
        arguments = [*made.tensors.values(), *([self._shared_counters] if counters else [])]
        launch = dataclasses.replace(launch_of(spec, problem, schedule, y_dtype, self.gpu), fills_resting=fill)
        results = self._call(schedule.tile.variant(problem.number_format), launch, numbers, arguments, outs)
        self.lowering.store(var, Layout(y_dtype), results[0])
        if problem.sums:
            self.sums[var] = results[-1]

    def _depthwise(self, var: relax.Var, spec: Conv2dSpec, call: relax.Call) -> None:
        weight, y_dtype = constant(argument(spec, call, "weight")), out_dtype(spec)
        lists = ["winners"] if conv2d.followed(spec.winners, GROUP) else []
        packed = depthwise.pack_depthwise(weight, spec.format)
        made = self._arguments(var, spec, call, depthwise.ELEMENTS[spec.format], packed, lists, folds_zero=False)
        x_shape, out_shape = shape_of(argument(spec, call, "x")), shape_of(var)
        fill, shapes = bool(lists) and self._resting_are_read(var), (x_shape, weight.shape, out_shape)
        numbers = depthwise.depthwise_numbers(spec, *shapes, made.given, made.end, fill)
        launch = launch_of_depthwise(spec, x_shape, weight.shape[2] * weight.shape[3], out_shape, y_dtype, self.gpu)
        launch = dataclasses.replace(launch, fills_resting=fill)
        outs = [(Layout(y_dtype).physical(out_shape), y_dtype)]
        results = self._call(depthwise.variant_of(spec), launch, numbers, list(made.tensors.values()), outs)
        self.lowering.store(var, Layout(y_dtype), results[0])

    def _codebook(self, var: relax.Var, spec: DenseSpec, call: relax.Call) -> None:
        """A dense layer of packed codes, on plain tensors."""
        arrays = constants_of(spec, call)
        check_sums(spec, arrays)
        x, (batch, channels) = argument(spec, call, "x"), shape_of(var)
        tensors = [self.lowering.plain(x), *map(relax.const, dense_codebook.pack(spec, arrays))]
        numbers = dense_codebook.codebook_numbers(spec, batch, arrays["weight"])
        outs = [((batch, channels), "float32" if "scale" in spec.roles else "uint8")]
        launch = launch_of_codebook(spec, shape_of(x), channels, self.gpu)
        self.lowering.bind(var, self._call(dense_codebook.VARIANT, launch, numbers, tensors, outs)[0])

    def _gate(self, var: relax.Var, spec: ChannelGateSpec, call: relax.Call) -> None:
        x, phi, rho = (argument(spec, call, role) for role in ("x", "phi", "rho"))
        shape, channels = shape_of(x), shape_of(phi)[1]
        if spec.integer is not None:
            check_scores(spec, constant(phi), constant(rho))
        left = x in self.products and _leaves_sums_for(self.lowering.flow, x, var, self.gpu)
        sums = self.sums[x] if left else self._sums_of(x, spec, call)
        launch = launch_of_gate(spec, shape, channels, shape_of(sums)[1], self.gpu)
        parts = launch.grid[1]
        numbers = channel_gate.gate_numbers(spec, shape, channels, shape_of(sums), parts)
        counters = [relax.const(conv2d.zeroed_counters(shape[0]))] if parts > 1 else []
        given = [self.lowering.visit_expr(one) for one in (phi, rho)]
        tensors = [sums, *given, *self._listed(spec, call), *counters]
        outs = channel_gate.output_shapes(spec, shape[0], channels)
        results = self._call(channel_gate.variant_of(spec), launch, numbers, tensors, outs)
        self.lowering.bind(var, relax.Tuple(results[:2]))

    def _sums_of(self, x: relax.Expr, spec: ChannelGateSpec, call: relax.Call) -> relax.Expr:
        """The sums that a gate reads, by a launch of their own."""
        shape, (value, dtype) = shape_of(x), self._stored(x)
        slots = channel_sums.slots_of(self.gpu, shape[0], shape[2] * shape[3])
        numbers = channel_sums.sums_numbers(spec, shape, dtype, slots)
        outs = [(channel_sums.sums_shape(shape, slots), "float32" if spec.integer is None else "int32")]
        launch = launch_of_sums(spec, shape, dtype, slots, self.gpu)
        tensors = [value, *self._listed(spec, call)]
        return self._call(channel_sums.variant_of(dtype), launch, numbers, tensors, outs)[0]

    def _listed(self, spec: ChannelGateSpec, call: relax.Call) -> list[relax.Expr]:
        """The list that a gate follows, if it follows one."""
        return [self.lowering.visit_expr(argument(spec, call, "active"))] if channel_sums.listed(spec) else []

    def _stored(self, var: relax.Expr) -> tuple[relax.Expr, str]:
        """The tensor in the kernels' layout as it was written, and its element type."""
        return self.lowering.stored_as(var) or (self.lowering.given(var, dtype_of(var)), dtype_of(var))

    def _arguments(
        self,
        var: relax.Var,
        spec: LayerSpec,
        call: relax.Call,
        element: str,
        weight: np.ndarray,
        lists: list[str],
        outside: np.ndarray | None = None,
        folds_zero: bool = True,
    ) -> _Arguments:
        """What a layer's kernel takes. element: of x. lists: those that it follows. outside: see `conv2d.outside_of`.

        folds_zero: see `epilogue.pack_end`.
        """
        tensors = {"x": self.lowering.given(argument(spec, call, "x"), element), "weight": relax.const(weight)}
        channels, residual_dtype = Layout(out_dtype(spec)).channels(shape_of(var)[1]), "float32"
        if spec.integer is not None:
            arrays = constants_of(spec, call)
            rescaling = epilogue.rescaling_of(spec, arrays)
            packed = epilogue.pack_end(spec, arrays, rescaling, folds_zero)
            tensors |= {role: relax.const(array) for role, array in packed.items()}
        elif "bias" in spec.roles:
            tensors["bias"] = relax.const(epilogue.pack_vector(constant(argument(spec, call, "bias"))))
        if "residual" in spec.roles:
            tensors["residual"], residual_dtype = self._stored(argument(spec, call, "residual"))
        for role in [*(["pi"] if "pi" in spec.roles else []), *lists]:
            tensors[role] = self.lowering.visit_expr(argument(spec, call, role))
        if outside is not None:
            tensors["outside"] = relax.const(outside)
        if spec.integer is not None:
            return _Arguments(tensors, epilogue.byte_end(spec, channels, shape_of(var)[1], rescaling))
        return _Arguments(tensors, epilogue.real_end(spec, channels, out_dtype(spec), residual_dtype))

    def _call(self, variant: Variant, launch: KernelLaunch, numbers, tensors, outs) -> list[relax.Expr]:
        """Emit a call of a kernel; its outputs."""
        self.emitted.variants[variant.name] = variant
        taken = tuple((shape_of(one), dtype_of(one)) for one in tensors) + tuple(outs)
        self.emitted.launches.append(dataclasses.replace(launch, numbers=tuple(numbers), tensors=taken))
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
        return any(not _follows_list(var, flow.layer_of(user), self.gpu) for user in flow.users[var])

    @cached_property
    def _shared_counters(self) -> relax.Expr:
        """Zeros that every launch with a split depth counts in and leaves at zero; launches run one after the other."""
        counts = (conv2d.scratch_shapes(self.products[var], one)[0] for var, one in self.schedules.items())
        return relax.const(conv2d.zeroed_counters(max(counts)))


def obstacle(operator: str, spec, call: relax.Call, gpu: Gpu) -> str | None:
    """Why a layer or a gate has no kernel of ours on a GPU, None if it has one."""
    fixed = {"weight", "bias", "phi", "rho", "multiplier", "scale"} & set(spec.roles)
    if any(constant(argument(spec, call, role)) is None for role in fixed):
        return "a weight that is computed"
    if operator == ir_names.CHANNEL_GATE:
        c_in, channels = shape_of(argument(spec, call, "phi"))
        return None if channel_gate.fits(spec, c_in, channels, gpu) else f"a gate of {c_in} to {channels} channels"
    if kind_of(spec, call, gpu) != CONV2D:
        return None
    weight = constant(argument(spec, call, "weight"))
    if spec.format not in gpu.formats:
        return f"number format {spec.format} on {gpu.arch}"
    if isinstance(spec, Conv2dSpec) and spec.groups > 1:
        return "grouped convolution"
    listed = conv2d.followed(spec.winners, GROUP)
    if spec.gate != "none" and (weight.shape[0] % GROUP or (spec.gate == "listed" and not listed)):
        return f"gate of granularity {spec.winners.granularity}"
    if not conv2d.counts_chunks(spec, shape_of(argument(spec, call, "x"))):
        return "an input of more than 8 GiB"
    return None if conv2d.fits_table(spec, weight.shape[1]) else f"{weight.shape[1]} input channels"


def kind_of(spec: LayerSpec, call: relax.Call, gpu: Gpu) -> str:
    """The family of kernels that computes a layer, if one does."""
    weight = constant(argument(spec, call, "weight"))
    packs = isinstance(spec, DenseSpec) and dense_codebook.fits(spec, weight)
    if packs and _pays_to_decode(spec, shape_of(argument(spec, call, "x")), weight, gpu):
        return CODEBOOK
    return DEPTHWISE if depthwise.fits(spec, weight.shape) else CONV2D


def _pays_to_decode(spec: DenseSpec, x_shape: tuple[int, ...], weight: np.ndarray, gpu: Gpu) -> bool:
    """Whether packed codes, which each sample decodes again, are predicted to be no slower than their bytes."""
    (batch, depth), channels = x_shape, len(weight)
    if spec.format not in gpu.formats or not conv2d.fits_table(spec, depth):
        return True
    product = conv2d.Problem.of(spec, x_shape, weight.shape, (batch, channels))
    decoded_s = predicted_codebook_s(gpu, batch, dense_codebook.chunks_of(depth), channels)
    return decoded_s <= predicted_s(product, choose_schedule(product, gpu), gpu)


def constants_of(spec: LayerSpec, call: relax.Call) -> dict[str, np.ndarray]:
    """A layer's constants by role."""
    arrays = {role: constant(expr) for role, expr in zip(spec.roles, call.args)}
    return {role: array for role, array in arrays.items() if array is not None}


def out_dtype(spec: LayerSpec) -> str:
    """The element type in which a layer's output is stored."""
    return spec.out_format if spec.out_format in ("float16", "uint8") else "float32"


def products_of(flow: Dataflow, gpu: Gpu) -> dict[relax.Var, conv2d.Problem]:
    """The layers that are matrix products on tensor cores, in program order."""
    found = {}
    for var in flow.values:
        operator, spec, call = flow.layer_of(var) or (ir_names.CHANNEL_GATE, None, None)
        if operator == ir_names.CHANNEL_GATE or obstacle(operator, spec, call, gpu):
            continue
        if kind_of(spec, call, gpu) == CONV2D:
            weight = constant(argument(spec, call, "weight"))
            shapes = shape_of(argument(spec, call, "x")), weight.shape, shape_of(var)
            sums = any(_leaves_sums_for(flow, var, user, gpu) for user in flow.users[var])
            found[var] = dataclasses.replace(conv2d.Problem.of(spec, *shapes), sums=sums)
    return found


def _leaves_sums_for(flow: Dataflow, var: relax.Var, user: relax.Var, gpu: Gpu) -> bool:
    """Whether `user` is a gate, and the product bound to `var` can leave behind all that it reads."""
    operator, spec, call = flow.layer_of(user) or (None, None, None)
    if operator != ir_names.CHANNEL_GATE or obstacle(operator, spec, call, gpu):
        return False
    _, own, own_call = flow.layer_of(var)
    if (spec.integer and spec.integer.x_zero) != (own.integer and own.integer.zero):
        return False
    if conv2d.followed(own.winners, GROUP) is None:
        return True
    has_list = channel_sums.listed(spec) is not None  # what rests has no sums, and must not be read
    return has_list and argument(spec, call, "active").same_as(argument(own, own_call, "winners"))


def _follows_list(var: relax.Var, layer, gpu: Gpu) -> bool:
    """Whether a reader reads only the listed channels of `var`."""
    if not layer or obstacle(*layer, gpu):
        return False
    operator, spec, call = layer
    if operator == ir_names.CHANNEL_GATE:
        return channel_sums.listed(spec) is not None
    kind = kind_of(spec, call, gpu)
    if kind == CODEBOOK or var == argument(spec, call, "residual"):
        return False
    if kind == DEPTHWISE:
        return conv2d.followed(spec.winners, GROUP) is not None
    return conv2d.followed(spec.active, conv2d.NUMBERS[conv2d.number_format_of(spec)].piece) is not None
