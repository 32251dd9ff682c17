"""A quantized Relax module as stages, and what stays on the host."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from espalier.core import ir_names
from espalier.core.errors import InvalidPlanError, UnsupportedOpError
from espalier.core.formats import Binary, Codebook, Focused, Shift, parse_format
from espalier.core.integer import MULTIPLIER_BITS, LayerArithmetic, QuantizeSpec
from espalier.core.layers import ChannelGateSpec, Conv2dSpec, LayerSpec
from espalier.ir.dataflow import Dataflow, constant, dtype_of, shape_of

from .components import components_of
from .network import INPUT, Port, StageNetwork
from .stages import Add, ChannelList, Convolution, Gate, MaxPool, MeanPool, Products, Shape, Stage

KEEPS_ORDER = ("relax.reshape", "relax.flatten", "relax.nn.batch_flatten", "relax.squeeze", "relax.expand_dims")
"""Stock operators that only give a tensor another shape."""

JOINS = "ReLU and clipping, max_pool2d, the mean over all pixels, add of two tensors, and flattening"
"""What an accelerator computes between layers, for messages."""


@dataclass(frozen=True)
class Streamed:
    """A network cut in three: the host makes `first` of the inputs, the stages `last` of it, the host the outputs.

    first, last: variables of the module's main, uint8. A float32 `last` is the product of a layer's sums and a scale,
    or a ReLU of that: the stages give the int32 sums, or those limited to 0 and more; `before` is then the input of
    that layer, uint8. quantize: how `first` is made.
    """

    network: StageNetwork
    first: relax.Var
    last: relax.Var
    quantize: QuantizeSpec
    before: relax.Var | None = None

    @property
    def seen(self) -> tuple[relax.Var, ...]:
        """The variables that say what goes into the stages and what comes out of them."""
        return (self.first, self.last if self.before is None else self.before)


def streamed(mod: tvm.IRModule) -> Streamed:
    """The stages of a module after the quantize phase.

    Raises InvalidPlanError for a layer in floating point, UnsupportedOpError for what no stage computes.
    """
    return _Reader(Dataflow.of(mod)).read()


class _Reader:
    def __init__(self, flow: Dataflow):
        self.flow = flow
        self.stages: list[Stage] = []
        self.sources: dict[Port, Port] = {}
        self.layers: dict[str, str] = {}
        self.made: dict[relax.Var, Port] = {}
        self.shapes: dict[relax.Var, Shape] = {}  # of whole tensors, also where streams carry a part of the channels
        self.lists: dict[relax.Var, tuple[relax.Var, ChannelList]] = {}  # the list behind a tensor's stream

    def read(self) -> Streamed:
        self._refuse_floats()
        first = self._first()
        self.made[first], self.shapes[first] = INPUT, self._shape(first)
        for var in self.flow.values:
            if var not in self.made and any(one in self.made for one in self._reads(var)):
                self._stage(var)
        last = self._last(first)
        self._refuse_layers_behind()
        network = StageNetwork(self.shapes[first], tuple(self.stages), self.sources, self.made[last], self.layers)
        return Streamed(network, first, last, self.flow.operator_of(first)[1], self._before(last))

    def _refuse_floats(self) -> None:
        """Raise for layers in floating point, and for convolutions in other layouts, which are never quantized."""
        for var in self.flow.values:
            layer, call = self.flow.layer_of(var), self.flow.call_of(var, "relax.nn.conv2d")
            layouts = None if call is None else (str(call.attrs.data_layout), str(call.attrs.kernel_layout))
            if layouts not in (None, ("NCHW", "OIHW")):
                raise UnsupportedOpError(
                    f"fpga_hls, {var.name}: got conv2d with the layouts {' and '.join(layouts)}, accepted are NCHW and "
                    "OIHW"
                )
            if layer and layer[1].integer is None:
                raise InvalidPlanError(
                    f"layer {layer[1].name!r}: is in floating point, an FPGA computes integers; accepted are quantized "
                    "formats, such as --weights 'uniform<8>' with --calibration, or a model in QDQ form"
                )

    def _first(self) -> relax.Var:
        params = self.flow.mod["main"].params
        found = [var for var in self.flow.values if self._is(var, ir_names.QUANTIZE)]
        if len(params) != 1 or not found:
            raise UnsupportedOpError(
                f"fpga_hls: got {len(params)} inputs and {len(found)} of them quantized, accepted is one, quantized"
            )
        return found[0]

    def _stage(self, var: relax.Var) -> None:
        """Translate what is computed from the stream; all that reads or gives real numbers stays on the host, but for a
        ReLU of a layer's sums.
        """
        found, call = self.flow.operator_of(var), self.flow.call_of(var)
        if self._reads_reals(var):
            self._rectify(var)
        elif found and found[0] in (ir_names.CONV2D, ir_names.DENSE):
            self._layer(var, found[1], found[2])
        elif found and found[0] == ir_names.CHANNEL_GATE:
            self._gate(var, found[1], found[2])
        elif found and found[0] == ir_names.MEAN_POOL:
            self._keep_list(var, found[2].args[0])
            self._add_stage(var, found[1].name, found[2].args, lambda name, x, y: MeanPool(name, x, y, found[1]), True)
        elif found and found[0] == ir_names.ADD:
            self._add_stage(var, found[1].name, found[2].args, lambda name, x, y: Add(name, x, y, found[1]))
        elif found and found[0] == ir_names.DEQUANTIZE:
            return
        elif call is not None and call.op.name == "relax.nn.max_pool2d":
            self._max_pool(var, call)
        elif call is not None and call.op.name in KEEPS_ORDER and call.args[0] in self.made:
            self._alias(var, call.args[0])
        elif isinstance(self.flow.values[var], relax.Var):
            self._alias(var, self.flow.values[var])
        elif isinstance(self.flow.values[var], relax.TupleGetItem):
            self._list_of_a_gate(var, self.flow.values[var])
        else:
            raise UnsupportedOpError(
                f"fpga_hls, {var.name}: got {self._operator(var)} on quantized numbers, accepted are convolution, "
                f"depthwise convolution, dense, {JOINS}"
            )

    def _reads_reals(self, var: relax.Var) -> bool:
        """Whether it reads the product of a layer's sums and its scales, see `Streamed`."""
        made = [one for one in self._reads(var) if one in self.made]
        return any(isinstance(one.ty, relax.TensorType) and dtype_of(one) == "float32" for one in made)

    def _rectify(self, var: relax.Var) -> None:
        """A ReLU that alone reads a layer's sums limits them: scales are positive."""
        call = self.flow.call_of(var, "relax.nn.relu")
        if call is None or not self.flow.layer_of(call.args[0]) or self.flow.only_user(call.args[0]) is None:
            return
        source, (name, _) = call.args[0], self.made[call.args[0]]
        at = next(place for place, stage in enumerate(self.stages) if stage.name == name)
        self.stages[at] = dataclasses.replace(self.stages[at], is_rectified=True)
        self.made[var], self.shapes[var] = self.made[source], self.shapes[source]

    def _layer(self, var: relax.Var, spec: LayerSpec, call: relax.Call) -> None:
        given = dict(zip(spec.roles, call.args))
        self._refuse_gated_sums(spec)
        weights, shape = self._weights(spec, constant(given["weight"]), given["x"])
        winners = spec.winners and ChannelList(len(weights), spec.winners.count, spec.winners.granularity)
        if weights.shape[0] != shape_of(var)[1]:
            raise UnsupportedOpError(f"fpga_hls, layer {spec.name!r}: its weights are no constant of its own")
        kind = self._kind(spec, weights, shape)
        arithmetic, channels = spec.integer, len(weights)
        multiplier = constant(given["multiplier"]) if "multiplier" in given else None
        bias = constant(given["bias"]) if "bias" in given else np.zeros(channels, np.int32)
        self._check_numbers(spec.name, arithmetic, multiplier)
        active = self._active(spec, given)

        def stage(name: str, x: Shape, y: Shape) -> Stage:
            options = {} if not isinstance(spec, Conv2dSpec) else {"stride": spec.strides, "padding": spec.padding}
            options |= {"active": active, "winners": winners, "has_pi": "pi" in given}
            products = _products(spec, weights, active is not None or winners is not None)
            return Convolution(name, x, y, kind, weights, bias, multiplier, arithmetic, **options, products=products)

        ports = [role for role in ("x", "residual", "active", "winners", "pi") if role in given]
        if winners:
            self.lists[var] = given["winners"], winners
        self._add_stage(var, spec.name, [given[port] for port in ports], stage, active is not None)

    def _refuse_gated_sums(self, spec: LayerSpec) -> None:
        if spec.winners and "residual" in spec.roles:
            raise UnsupportedOpError(
                f"fpga_hls, layer {spec.name!r}: has a channel gate on a residual sum, accepted are gates inside of "
                "branches; use placement inner"
            )

    def _active(self, spec: LayerSpec | ChannelGateSpec, given: dict) -> ChannelList | None:
        """The list of a layer's or a gate's input, which is the one behind its stream."""
        if "active" not in given:
            return None
        source, known = self.lists.get(given["x"], (None, None))
        if source is None or not source.same_as(given["active"]):
            raise UnsupportedOpError(
                f"fpga_hls, layer {spec.name!r}: reads its input by a list that joins others, accepted are lists of "
                "one gate"
            )
        return known

    def _gate(self, var: relax.Var, spec: ChannelGateSpec, call: relax.Call) -> None:
        """A gate's stage; its two results are the lists that layers read."""
        given = dict(zip(spec.roles, call.args))
        phi, rho, active = constant(given["phi"]), constant(given["rho"]), self._active(spec, given)
        winners = ChannelList(phi.shape[1], spec.kept, spec.granularity)
        results = [one for one in self.flow.users[var] if isinstance(self.flow.values[one], relax.TupleGetItem)]
        has_pi = any(self.flow.values[one].index == 0 and self.flow.users[one] for one in results)

        def stage(name: str, x: Shape, _y: Shape) -> Stage:
            return Gate(
                *(name, x, (1, 1, winners.count), phi, rho, spec.integer, winners, active),
                has_pi=has_pi,
                boosts=spec.mode == "boost",
            )

        arguments = [given[role] for role in ("x", "active") if role in given]
        self._add_stage(var, f"{spec.name}.gate", arguments, stage, active is not None)

    def _list_of_a_gate(self, var: relax.Var, value: relax.TupleGetItem) -> None:
        name, _ = self.made[value.tuple_value]
        self.made[var] = name, ("pi", "winners")[value.index]

    def _weights(self, spec: LayerSpec, weights: np.ndarray, x: relax.Expr) -> tuple[np.ndarray, Shape]:
        """[C_out, C_in, KH, KW], and the shape of the input. A dense layer behind a flattened image reads it whole."""
        shape = self.shapes[x]
        if isinstance(spec, Conv2dSpec):
            return weights, shape
        height, width, channels = shape
        return np.ascontiguousarray(weights.reshape(len(weights), channels, height, width)), shape

    def _kind(self, spec: LayerSpec, weights: np.ndarray, shape: Shape) -> str:
        if not isinstance(spec, Conv2dSpec):
            return "dense" if shape[:2] == (1, 1) else "window_conv"
        if spec.dilation != (1, 1):
            raise UnsupportedOpError(f"fpga_hls, layer {spec.name!r}: got dilation {spec.dilation}, accepted is (1, 1)")
        if spec.groups == 1:
            return "window_conv"
        if spec.groups == shape[2] == len(weights):
            return "depthwise"
        raise UnsupportedOpError(
            f"fpga_hls, layer {spec.name!r}: got {spec.groups} groups of {shape[2]} channels to {len(weights)}, "
            f"accepted are 1 group, or as many as input and output channels"
        )

    def _check_numbers(self, name: str, arithmetic: LayerArithmetic, multiplier: np.ndarray | None) -> None:
        numbers = [] if multiplier is None else [int(multiplier.min()), int(multiplier.max())]
        if arithmetic.residual:
            numbers += [arithmetic.residual.own, arithmetic.residual.other]
        if any(not 0 <= one < 2**MULTIPLIER_BITS for one in numbers):
            raise UnsupportedOpError(
                f"fpga_hls, layer {name!r}: got multipliers {min(numbers)} .. {max(numbers)}, "
                f"accepted are 0 .. 2^{MULTIPLIER_BITS} - 1"
            )

    def _max_pool(self, var: relax.Var, call: relax.Call) -> None:
        attrs = call.attrs
        self._refuse_reshaped(var.name, call.args[0])
        kernel, stride, padding, dilation = (
            tuple(int(one) for one in getattr(attrs, key)) for key in ("pool_size", "strides", "padding", "dilation")
        )
        if dilation != (1, 1) or str(attrs.layout) != "NCHW":
            raise UnsupportedOpError(
                f"fpga_hls, {var.name}: got max_pool2d with dilation {dilation} and layout {attrs.layout}, "
                "accepted are (1, 1) and NCHW"
            )
        (height, width, _), shape = self.shapes[call.args[0]], shape_of(var)
        for number, (size, low, high) in enumerate([(height, 0, 2), (width, 1, 3)]):
            if (size + padding[low] + padding[high] - kernel[number]) // stride[number] + 1 != shape[2 + number]:
                raise UnsupportedOpError(
                    f"fpga_hls, {var.name}: got max_pool2d with ceil_mode, accepted are windows inside of the image"
                )
        self._keep_list(var, call.args[0])
        options = (kernel, stride, padding)
        self._add_stage(var, var.name, call.args[:1], lambda name, x, y: MaxPool(name, x, y, *options), True)

    def _keep_list(self, var: relax.Var, source: relax.Var) -> None:
        """What an operator on single channels gives has the list of what it reads."""
        if source in self.lists:
            self.lists[var] = self.lists[source]

    def _add_stage(self, var: relax.Var, layer: str, arguments, stage, takes_list: bool = False) -> None:
        """Make a stage of the first argument; takes_list: whether that one's stream may be part of its channels."""
        missing = next((one for one in arguments if one not in self.made), None)
        if missing is not None:
            raise UnsupportedOpError(
                f"fpga_hls, layer {layer!r}: reads {getattr(missing, 'name', missing)}, which is no stream of the "
                "network's input; accepted are streams"
            )
        for one in arguments:
            self._refuse_reshaped(layer, one)
        for one in arguments[1:] if takes_list else arguments:
            self._refuse_part(layer, one)
        name = self._name(layer)
        whole = self.shapes[arguments[0]] if isinstance(var.ty, relax.TupleType) else self._shape(var)
        made = stage(name, self._streamed(arguments[0]), self._part(var, whole))
        self.stages.append(made)
        self.layers[name] = layer
        self.made[var], self.shapes[var] = (name, made.out_ports[0]), whole
        for port, source in zip(made.in_ports, arguments, strict=True):
            self.sources[name, port] = self.made[source]

    def _refuse_reshaped(self, layer: str, var: relax.Var) -> None:
        if var in self.shapes and len(shape_of(var)) == 4 and self._shape(var) != self.shapes[var]:
            height, width, channels = self.shapes[var]
            raise UnsupportedOpError(
                f"fpga_hls, layer {layer!r}: reads [1, {channels}, {height}, {width}] reshaped to "
                f"{list(shape_of(var))}, accepted are flattening an image, and other forms of one pixel"
            )

    def _refuse_part(self, layer: str, var: relax.Var) -> None:
        if var in self.lists:
            raise UnsupportedOpError(
                f"fpga_hls, layer {layer!r}: reads all channels of a tensor of which a gate keeps a part, accepted are "
                'readers that skip the others; use density 1.0 for the layer before, or placement "inner"'
            )

    def _streamed(self, var: relax.Var) -> Shape:
        return self._part(var, self.shapes[var])

    def _part(self, var: relax.Var, whole: Shape) -> Shape:
        """Of the stream of a tensor of this shape."""
        return (*whole[:2], self.lists[var][1].kept) if var in self.lists else whole

    def _alias(self, var: relax.Var, source: relax.Var) -> None:
        shape, before = shape_of(var), self.shapes[source]
        if math.prod(shape[1:]) != math.prod(before) or shape[0] != 1 or (len(shape) == 4 and shape[1] != before[2]):
            raise UnsupportedOpError(
                f"fpga_hls, {var.name}: got a reshape from {list(shape_of(source))} to {list(shape)}, accepted are "
                "flattening an image, and other forms of one pixel"
            )
        self.made[var], self.shapes[var] = self.made[source], before
        self._keep_list(var, source)

    def _last(self, first: relax.Var) -> relax.Var:
        """The variable that the host reads."""
        ends = []
        for var in self.made:
            readers = [user for user in self.flow.users[var] if user not in self.made]
            is_result = any(one.same_as(var) for one in relax.analysis.free_vars(self.flow.result))
            if (readers or is_result) and var not in ends:
                ends.append(var)
        ports = {self.made[var] for var in ends}
        if len(ports) != 1 or first in ends:
            names = sorted(name for name, _ in ports)
            raise UnsupportedOpError(
                f"fpga_hls: the host reads {names or 'nothing'} of the network, accepted is one stream behind "
                f"the last layer{self._joined()}"
            )
        last = ends[0]
        self._refuse_part("the host", last)
        if len(shape_of(last)) == 2 and self.shapes[last][:2] != (1, 1):
            raise UnsupportedOpError("fpga_hls: the output is a flattened image, accepted are images and single pixels")
        return last

    def _joined(self) -> str:
        """What joins streams on the host, if anything does."""
        reached: dict[relax.Var, set[Port]] = {}
        for var in self.flow.values:
            known = [reached.get(one, set()) for one in self._reads(var)]
            reached[var] = {self.made[var]} if var in self.made else set().union(*known)
            if len(reached[var]) > 1 and self.flow.call_of(var) is not None:
                return f"; {var.name}, {self._operator(var)}, joins streams in floating point, accepted is add"
        return ""

    def _operator(self, var: relax.Var) -> str:
        """What is bound to a variable, by the name of its operator."""
        found, call = self.flow.operator_of(var), self.flow.call_of(var)
        return found[0] if found else call.op.name if call is not None else "no call"

    def _before(self, last: relax.Var) -> relax.Var | None:
        """The input of a layer in float32."""
        if dtype_of(last) == "uint8":
            return None
        relu = self.flow.call_of(last)
        _, spec, call = self.flow.operator_of(last if relu is None else relu.args[0])
        return call.args[spec.roles.index("x")]

    def _refuse_layers_behind(self) -> None:
        for var in self.flow.values:
            layer = self.flow.layer_of(var)
            if layer and var not in self.made:
                real = between = next(one for one in layer[2].args if isinstance(one, relax.Var))
                while self._is(real, ir_names.QUANTIZE):
                    real = self.flow.values[real].args[0]
                raise UnsupportedOpError(
                    f"fpga_hls, layer {layer[1].name!r}: reads {between.name}, which is computed in floating "
                    f"point by {self._operator(real)}; accepted between quantized layers are {JOINS}"
                )

    def _reads(self, var: relax.Var) -> list[relax.Var]:
        return list(relax.analysis.free_vars(self.flow.values[var]))

    def _is(self, var: relax.Var, composite: str) -> bool:
        found = self.flow.operator_of(var)
        return bool(found) and found[0] == composite

    def _shape(self, var: relax.Var) -> Shape:
        shape = shape_of(var)
        if shape[0] != 1 or len(shape) not in (2, 4):
            raise UnsupportedOpError(
                f"fpga_hls, {var.name}: got {dtype_of(var)} {list(shape)}, accepted are [1, C, H, W] and [1, C]: "
                "an accelerator takes one image at a time"
            )
        return (shape[2], shape[3], shape[1]) if len(shape) == 4 else (1, 1, shape[1])

    def _name(self, layer: str) -> str:
        """An identifier, unique and no keyword (those have no digits)."""
        name = re.sub(r"[^A-Za-z0-9]+", "_", layer).strip("_")
        name = name if re.match(r"[A-Za-z].*\d", name) else f"s{len(self.stages)}_{name}"
        return name if name not in self.layers else f"{name}_{len(self.stages)}"


def _products(spec: LayerSpec, weights: np.ndarray, is_listed: bool) -> Products:
    """How the weights of a number format multiply; multipliers are in DSPs unless folding has them in fabric.

    Recentralised shifts of a layer that reads its weights by lists are multiplied as the s8 levels that they are.
    """
    fmt = parse_format(spec.weight_format)
    if isinstance(fmt, Focused) and not is_listed:
        components = components_of(weights)
        if components:
            return Products("focused", fmt.bits, components)
    if isinstance(fmt, Shift | Focused) and _are_shifts(weights):
        return Products("shift", min(fmt.bits, 4))
    if isinstance(fmt, Binary):
        return Products("binary", 1)
    bits = 8 if isinstance(fmt, Codebook | Focused | Shift) else fmt.bits
    return Products("dsp", bits)


def _are_shifts(weights: np.ndarray) -> bool:
    sizes = np.unique(np.abs(weights.astype(np.int16)))
    return all(size == 0 or size & (size - 1) == 0 for size in sizes.tolist()) and sizes.max(initial=0) < 128
