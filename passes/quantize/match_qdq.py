"""What a network in QDQ form says: numbers and their scales beside operators in float32 (ONNX QuantizeLinear)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from tvm import relax

from espalier.core.layers import Activation, DenseSpec, LayerSpec
from espalier.ir.dataflow import Dataflow, constant, dtype_of, shape_of

from ..prepare.fuse_layers import activation_of, conv2d_spec
from .layer_arrays import LayerArrays
from .scales import Numbers

TOP = 255
SIGNED_SHIFT = 128
"""An int8 number q is the uint8 number q + 128."""


@dataclass(frozen=True)
class QuantizedLayer:
    """A product of quantized tensors with what follows it in float32.

    x: the quantized input's variable. x_shape: the shape in which it is multiplied, such as that of a flattened image.
    through: the float32 variables from the product to the last one fused.
    """

    spec: LayerSpec
    x: relax.Var
    x_shape: tuple[int, ...]
    arrays: LayerArrays
    activation: Activation
    through: list[relax.Var] = field(default_factory=list)


class QdqMatcher:
    """Reads the quantize and dequantize operators of a module's main."""

    def __init__(self, flow: Dataflow):
        self.flow = flow
        self.numbers = {var: found for var in flow.values if (found := self._quantized(var)) is not None}

    def source(self, var: relax.Expr) -> relax.Var | None:
        """The quantized variable that `var` dequantizes; None if it is something else."""
        call = self.flow.call_of(var, "relax.dequantize")
        return call.args[0] if call is not None and call.args[0] in self.numbers else None

    def layer(self, last: relax.Var) -> QuantizedLayer | None:
        """The layer that ends in this float32 variable: a product [+ bias] [-> activation], used by nothing else."""
        var, through = last, [last]
        activation = activation_of(self.flow.call_of(var, "relax.nn.relu", "relax.clip", "relax.nn.relu6"))
        if activation is not None:
            var = self._back(self.flow.call_of(var).args[0], through)
        bias, added = None, self.flow.call_of(var, "relax.add") if var is not None else None
        if added is not None:
            values = [self.value(one) for one in added.args]
            side = next((number for number, value in enumerate(values) if value is not None), None)
            if side is None:
                return None
            bias, var = values[side], self._back(added.args[1 - side], through)
        product = None if var is None else self._product(var)
        if product is None:
            return None
        spec, x, x_shape, weight, scale = product
        if bias is not None:
            if not _is_bias(bias, shape_of(var), isinstance(spec, DenseSpec)):
                return None
            bias = bias.reshape(-1).astype(np.float64)
        sums_scale = self.numbers[x].scale * scale.astype(np.float64)
        counted = np.zeros(len(weight)) if bias is None else np.rint(bias / sums_scale)
        if counted.shape != (len(weight),) or np.abs(counted).max() >= 2**31:
            return None
        arrays = LayerArrays(weight, counted.astype(np.int32), sums_scale)
        return QuantizedLayer(spec, x, x_shape, arrays, activation or Activation(), through)

    def value(self, expr: relax.Expr) -> np.ndarray | None:
        """The value of an expression of constants, quantized ones among them."""
        known = constant(expr)
        if known is not None:
            return known
        call = self.flow.call_of(expr)
        if call is None or call.op.name not in ("relax.dequantize", "relax.reshape", "relax.permute_dims"):
            return None
        if call.op.name == "relax.dequantize":
            found = self._quantized_constant(call)
            return None if found is None else found[0] * along(found[1].astype(np.float64), found[0].ndim, found[2])
        inner = self.value(call.args[0])
        if inner is None:
            return None
        if call.op.name == "relax.reshape":
            return inner.reshape(shape_of(call))
        axes = call.attrs.axes
        return inner.transpose(None if axes is None else [int(axis) for axis in axes])

    def _back(self, expr: relax.Expr, through: list[relax.Var]) -> relax.Var | None:
        """The operand as a variable that nothing else uses, noted as passed through."""
        if not isinstance(expr, relax.Var) or expr not in self.flow.values or self.flow.only_user(expr) is None:
            return None
        through.append(expr)
        return expr

    def _product(self, var: relax.Var):
        """(spec, x, its shape, weight int8 [C_out, ...], scale [C_out]) of a quantized tensor times constants."""
        call = self.flow.call_of(var, "relax.nn.conv2d", "relax.matmul")
        reshaped = None if call is None else self.flow.call_of(call.args[0], "relax.reshape", "relax.flatten")
        x = None if call is None else self.source(call.args[0] if reshaped is None else reshaped.args[0])
        if x is None:
            return None
        transposed, weight = call.op.name == "relax.matmul", call.args[1]
        turned = self.flow.call_of(weight, "relax.permute_dims")
        if transposed and turned is not None:
            transposed, weight = False, turned.args[0]
        given = self.flow.call_of(weight, "relax.dequantize")
        found = None if given is None else self._quantized_constant(given)
        if found is None:
            return None
        integers, scale, axis = found
        if transposed:
            integers, axis = np.ascontiguousarray(integers.T), 1 - axis
        if np.abs(integers + 0.5).max() > 128 or (scale.size > 1 and axis != 0):
            return None
        if call.op.name == "relax.matmul":
            is_plain = len(shape_of(call.args[0])) == 2 and integers.ndim == 2
            spec = DenseSpec(var.name)
        else:
            is_plain = (str(call.attrs.data_layout), str(call.attrs.kernel_layout)) == ("NCHW", "OIHW")
            spec = conv2d_spec(var.name, call)
        scale = np.broadcast_to(scale.reshape(-1), len(integers))
        return (spec, x, shape_of(call.args[0]), integers.astype(np.int8), scale) if is_plain else None

    def _quantized_constant(self, call: relax.Call):
        """(integers less their zero point, scale, axis) of a dequantize of constants."""
        scale, zero = (constant(one) for one in call.args[1:3])
        numbers = constant(call.args[0])
        if numbers is None:  # NNCF keeps the float32 weight and quantizes it in the graph
            before = self.flow.call_of(call.args[0], "relax.quantize")
            real = None if before is None else constant(before.args[0])
            if real is None or scale is None or not self._same(before, call):
                return None
            kind, axis = np.iinfo(str(before.attrs.out_dtype)), int(before.attrs.axis)
            steps = np.rint(real / along(scale, real.ndim, axis)) + along(zero, real.ndim, axis)
            numbers = np.clip(steps, kind.min, kind.max)
        if scale is None or zero is None or numbers.ndim == 0:
            return None
        axis = int(call.attrs.axis) % numbers.ndim
        return numbers.astype(np.int64) - along(zero, numbers.ndim, axis).astype(np.int64), scale, axis

    def _same(self, one: relax.Call, other: relax.Call) -> bool:
        """Whether two operators have the same scale and zero point."""
        pairs = ((constant(a), constant(b)) for a, b in zip(one.args[1:3], other.args[1:3]))
        return all(a is not None and b is not None and np.array_equal(a, b) for a, b in pairs)

    def _quantized(self, var: relax.Var) -> Numbers | None:
        """The numbers of a variable that is quantized as a whole to 8 bits and only dequantized again."""
        call = self.flow.call_of(var, "relax.quantize")
        if call is None or dtype_of(var) not in ("uint8", "int8") or constant(call.args[0]) is not None:
            return None
        scale, zero = (constant(one) for one in call.args[1:3])
        if scale is None or zero is None or scale.size != 1 or zero.size != 1 or not float(scale.reshape(())) > 0:
            return None
        readers = [self.flow.call_of(user, "relax.dequantize") for user in self.flow.users[var]]
        if any(reader is None or not self._same(call, reader) for reader in readers):
            return None
        if not readers or any(var in relax.analysis.free_vars(one) for one in (self.flow.result,)):
            return None
        shift = SIGNED_SHIFT if dtype_of(var) == "int8" else 0
        return Numbers(float(scale.reshape(())), int(zero.reshape(())) + shift, TOP)


def along(vector: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """A scalar, or a vector shaped to broadcast along one axis of a tensor."""
    if vector.size == 1:
        return vector.reshape(())
    return vector.reshape([-1 if one == axis else 1 for one in range(rank)])


def _is_bias(value: np.ndarray, shape: tuple[int, ...], is_dense: bool) -> bool:
    """Whether a constant added to a product of this shape is one number for each channel."""
    channel = len(shape) - 1 if is_dense else 1
    accepted = tuple(size if axis == channel else 1 for axis, size in enumerate(shape))
    missing = len(shape) - value.ndim
    return missing >= 0 and (1,) * missing + value.shape == accepted
